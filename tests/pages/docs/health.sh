# A service that says how its calls go, with ups and downs; logs of ZooKeeper, and a journal.
(
    set +x
    while true; do for how in u h; do vagus health report db@2 read:$how:30 --observer api@1; sleep 1; done; done
) > reports 2>&1 &
until test -s reports; do sleep 0.1; done
echo "2017-05-26 17:26:04,937 [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - Cannot open channel to 1 at election address pano1/10.0.0.5:3888" > zookeeper.out
echo server.7=10.0.0.5:2888:3888 > zoo.cfg
cat > zoo_filter.json <<'END'
{"FilterTree": [{"Chain": [{"Field": "content", "Operator": "~", "Pattern": "/(?P<host>[0-9.]+):", "CaptureResult": true}],
  "Classifier": {"Context": "seen", "Subject": "<content_host>", "Status": "h", "Score": "90"}}]}
END
journalctl() {
    printf '{"__REALTIME_TIMESTAMP": "%s", "_HOSTNAME": "n1", "SYSLOG_IDENTIFIER": "systemd", "_PID": "1", "MESSAGE": "%s"}\n' \
        $(date +%s%6N) "db.service: Failed with result 'exit-code'."
    exec sleep 600
}
