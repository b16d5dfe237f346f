# A service that says how its calls go, with ups and downs; logs of ZooKeeper, and a journal.
(while true; do for how in u h; do vagus health report db@2 read:$how:30 --observer api@1; sleep 1; done; done) > reports &
until grep --silent Accepted reports; do sleep 0.1; done
cat > zookeeper.out <<'END'
2017-05-26 17:26:04,937 [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - Cannot open channel to 1 at election address pano1/10.0.0.5:3888
END
echo server.7=10.0.0.5:2888:3888 > zoo.cfg
cat > zoo_filter.json <<'END'
{"FilterTree": [{"Chain": [{"Field": "content", "Operator": "~", "Pattern": "/(?P<host>[0-9.]+):", "CaptureResult": true}],
  "Classifier": {"Context": "seen", "Subject": "<content_host>", "Status": "h", "Score": "90"}}]}
END
