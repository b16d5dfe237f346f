"""What each log filter says of lines that were published, and that it says nothing of healthy and look-alike ones.

Beside each line stands where it was published: an issue, a pull request, a page, or loghub (Zhu et al., ISSRE 2023,
https://github.com/logpai/loghub). Lines that a page shows without their date have one put before them here.
"""

from __future__ import annotations

import re
from datetime import timezone

import pytest

from vagus.health import LOG_FILTERS
from vagus.model import Metric, Report, Status

NOW = 1_798_675_200_000_000_000  # 2026-12-31 00:00 UTC
M, U, DY, D, H = Status.MAYBE_UNHEALTHY, Status.UNHEALTHY, Status.DYING, Status.DEAD, Status.HEALTHY
BLOCK = "BP-1214599446-127.0.0.1-1542938874046:blk_1075798010_2071296"

# plugin, observer, subject, context, status, score, line
SAID = [
    # --- ZooKeeper: ../shared/data/zookeeper is Panorama's own sample (Apache-2.0)
    ("zookeeper", "peer@0", "peer@1", "WorkerSender", M, 40,
     "2017-05-26 17:26:04,937 [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - "
     "Cannot open channel to 1 at election address pano1/10.0.0.5:3888"),
    ("zookeeper", "peer@0", "peer@4", "RecvWorker", M, 50,
     "2017-05-26 17:26:04,949 [myid:0] - WARN  [RecvWorker:4:QuorumCnxManager$RecvWorker@780] - "
     "Connection broken for id 4, my id = 0, error = "),
    ("zookeeper", "peer@9", "peer@9", "Snapshot", U, 20,
     "2017-05-19 17:16:25,012 [myid:9] - WARN  [SyncThread:9:SyncRequestProcessor@148] - Too busy to snap, skipping"),
    # https://github.com/apache/zookeeper/pull/296 (ZOOKEEPER-2824)
    ("zookeeper", "zookeeper@n1", "zookeeper@n1", "SyncThread", U, 30,
     "2017-06-28 10:25:16,645 [myid:] - WARN  [SyncThread:0:FileTxnLog@341] - fsync-ing the write ahead log "
     "(1945616 bytes) in SyncThread:0 took 2240ms which will adversely effect operation latency. "
     "See the ZooKeeper troubleshooting guide"),
    # https://github.com/apache/zookeeper/pull/1898 (ZOOKEEPER-4400), the line's end as ZooKeeper's source has it
    ("zookeeper", "zookeeper@n1", "peer@3", "RecvWorker", M, 50,
     "2024-07-13 08:21:58,033 [myid:] - WARN  [RecvWorker:3:o.a.z.s.q.QuorumCnxManager$RecvWorker@1402] - "
     "Connection broken for id 3, my id = 1"),
    # --- HDFS
    # https://github.com/microsoft/pai/pull/2895
    ("hdfs", "hdfs-client@n1", "datanode@10.0.0.20", "pipeline", U, 20,
     f"19/06/04 04:18:48 WARN hdfs.DFSClient: Error Recovery for block {BLOCK} in pipeline "
     "DatanodeInfoWithStorage[10.0.0.11:5010,DS-cbdc31a9-41a2-4fe6-8bb0-feb70edf5edd,DISK], "
     "DatanodeInfoWithStorage[10.0.0.17:5010,DS-20f235bc-947e-4f79-b676-4d7fc13cafb5,DISK], "
     "DatanodeInfoWithStorage[10.0.0.20:5010,DS-e6f17471-5ee3-406b-a092-4ec6bb9cc38c,DISK]: bad datanode "
     "DatanodeInfoWithStorage[10.0.0.20:5010,DS-e6f17471-5ee3-406b-a092-4ec6bb9cc38c,DISK]"),
    # https://github.com/DistributedSystemsGroup/zoe/issues/18
    ("hdfs", "hdfs-client@n1", "datanode@10.0.0.11", "write", U, 30,
     "16/03/30 08:33:32 INFO hdfs.DFSClient: Excluding datanode 10.0.0.11:50010"),
    # notes on HDFS in a public repository (index id 33184375546); the format is DatanodeManager.removeDeadDatanode's
    ("hdfs", "namenode@n1", "datanode@172.18.154.201", "heartbeat", D, 0,
     "2022-12-02 15:22:04,287 INFO org.apache.hadoop.hdfs.StateChange: BLOCK* removeDeadDatanode: "
     "lost heartbeat from 172.18.154.201:9866, removeBlocksFromBlockMap true"),
    # https://github.com/apache/hadoop/pull/4568 (HDFS-16664)
    ("hdfs", "namenode@n1", "datanode@DN4", "heartbeat", H, 90,
     "2022-09-07 13:52:07,729 INFO org.apache.hadoop.hdfs.StateChange (IPC Server handler 26 on default port 8020): "
     "BLOCK* registerDatanode: from DatanodeRegistration(DN4:9866, datanodeUuid=2792b414-8c97-4a36-bb3c-1bda67ea9f28, "
     "infoPort=9864, infoSecurePort=0, ipcPort=9867)"),
    # a log in a public repository (index id 69001824102), in the layout of Hadoop's own log4j.properties
    ("hdfs", "hdfs-client@n1", "datanode@10.177.103.197", "pipeline", U, 20,
     "2026-09-22 05:44:11,707 WARN hdfs.DataStreamer: Error Recovery for "
     "BP-1063351587-10.177.103.199-1770116578607:blk_1076381838_2641107 in pipeline "
     "[DatanodeInfoWithStorage[10.177.103.197:50012,DS-39fbcd73-ee12-46ca-9dd8-c92787f237b0,DISK], "
     "DatanodeInfoWithStorage[10.177.103.198:50012,DS-db07fb70-036d-41ec-bed9-dbd9030bc92c,DISK]]: datanode "
     "0(DatanodeInfoWithStorage[10.177.103.197:50012,DS-39fbcd73-ee12-46ca-9dd8-c92787f237b0,DISK]) is bad."),
    # the format of BlockReceiver, https://github.com/apache/hadoop/pull/2578 (HDFS-15754)
    ("hdfs", "datanode@n1", "datanode@10.0.0.2", "mirror", M, 40,
     "2020-12-30 00:00:00,000 WARN org.apache.hadoop.hdfs.server.datanode.DataNode: Slow BlockReceiver write packet to "
     "mirror took 12401ms (threshold=300ms), downstream DNs=[DatanodeInfoWithStorage[10.0.0.2:9866,null,null], "
     "DatanodeInfoWithStorage[10.0.0.3:9866,null,null]], blockId=1477503063"),
    # notes on slow HDFS in a public repository (index id 17658941109)
    ("hdfs", "datanode@n1", "datanode@n1", "disk", M, 40,
     "2020-12-30 00:00:00,000 WARN org.apache.hadoop.hdfs.server.datanode.DataNode: Slow BlockReceiver write data to "
     "disk cost:1295ms (threshold=300ms), volume=file:/data/dfs/dn/, blockId=1477503063"),
    # --- HBase
    # https://github.com/mattshma/bigdata/issues/25
    ("hbase", "regionserver@n1", "regionserver@n1", "pause", U, 30,
     "2016-05-09 19:38:05,741 WARN org.apache.hadoop.hbase.util.Sleeper: We slept 50631ms instead of 3000ms, this is "
     "likely due to a long garbage collecting pause and it's usually bad, "
     "see http://hbase.apache.org/book.html#trouble.rs.runtime.zkexpired"),
    ("hbase", "regionserver@n1", "regionserver@n1", "pause", U, 30,
     "2016-05-09 19:38:05,742 WARN org.apache.hadoop.hbase.util.JvmPauseMonitor: "
     "Detected pause in JVM or host machine (eg GC): pause of approximately 49738ms"),
    # https://superuser.blog/hbase-dead-regionserver/
    ("hbase", "regionserver@n1", "regionserver@n1", "pause", U, 30,
     "2017-05-24 04:55:34,718 WARN  [JvmPauseMonitor] util.JvmPauseMonitor: "
     "Detected pause in JVM or host machine (eg GC): pause of approximately 15598ms"),
    # a troubleshooting page in a public repository (index id 33330916099)
    ("hbase", "regionserver@n1", "regionserver@bis-newdatanode-s2b-72", "abort", D, 0,
     "2016-10-11 18:57:36,934 FATAL [regionserver60020] regionserver.HRegionServer: ABORTING region server "
     "bis-newdatanode-s2b-72,60020,1474425646831: org.apache.hadoop.hbase.YouAreDeadException: "
     "Server REPORT rejected; currently processing bis-newdatanode-s2b-72,60020,1474425646831 as dead server"),
    ("hbase", "regionserver@n1", "datanode@10.10.10.103", "pipeline", U, 20,
     "2016-10-11 18:57:36,925 WARN  [DataStreamer for file /hbase/WALs/bis-newdatanode-s2b-72,60020,1474425646831/"
     "bis-newdatanode-s2b-72%2C60020%2C1474425646831.1476182840215 block "
     "BP-45131683-16.6.10.141-1430914429099:blk_1286873659_213203810] hdfs.DFSClient: Error Recovery for block "
     "BP-45131683-16.6.10.141-1430914429099:blk_1286873659_213203810 in pipeline "
     "10.10.10.103:50010, 10.10.10.50:50010, 10.10.10.147:50010: bad datanode 10.10.10.103:50010"),
    # HBase's ServerManager and RegionServerTracker, notes in a public repository (index id 35983315784)
    ("hbase", "hmaster@n1", "regionserver@ab-01", "heartbeat", H, 90,
     "2017-09-11 20:38:10,411 INFO  [B.priority.fifo.QRpcServer.handler=1,queue=1,port=16000] master.ServerManager: "
     "Registering server=ab-01,16020,1505133487628"),
    ("hbase", "hmaster@n1", "regionserver@ab-01", "heartbeat", D, 0,
     "2017-09-11 20:38:11,028 INFO  [main-EventThread] zookeeper.RegionServerTracker: "
     "RegionServer ephemeral node deleted, processing expiration [ab-01,16020,1505133487628]"),
    # Metron's README on its HBase coprocessor (index id 13051957787)
    ("hbase", "regionserver@n1", "regionserver@node1", "abort", D, 0,
     "2019-08-13 14:37:40,793 ERROR [RS_OPEN_REGION-regionserver/node1:16020-0] regionserver.HRegionServer: "
     "***** ABORTING region server node1,16020,1565707051425: The coprocessor "
     "org.apache.metron.hbase.coprocessor.EnrichmentCoprocessor threw..."),
    # --- Cassandra
    # https://github.com/apache/cassandra-ccm/pull/706
    ("cassandra", "cassandra@n1", "cassandra@127.0.0.2", "gossip", U, 10,
     "INFO [GossipStage:1] 2020-03-16 16:39:12,368 Gossiper.java:1198 - InetAddress 127.0.0.2:7000 is now DOWN"),
    # https://github.com/datastax/cass-operator/issues/194
    ("cassandra", "cassandra@n1", "cassandra@192.168.164.10", "gossip", H, 100,
     "INFO  [GossipStage:1] 2020-10-23 08:01:42,096 Gossiper.java:1090 - InetAddress /192.168.164.10 is now UP"),
    ("cassandra", "cassandra@n1", "cassandra@192.168.106.245", "gossip", H, 100,
     "INFO  [GossipStage:1] 2020-10-23 08:01:42,063 Gossiper.java:1126 - Node /192.168.106.245 has restarted, now UP"),
    # a post on CASSANDRA-9183 in a public repository (index id 6994295138)
    ("cassandra", "cassandra@n1", "cassandra@n1", "pause", U, 30,
     "WARN  [GossipTasks:1] 2017-03-21 17:11:05,462 FailureDetector.java:249 - "
     "Not marking nodes down due to local pause of 9594745097 > 5000000000"),
    ("cassandra", "cassandra@n1", "cassandra@n1", "gc", M, 40,
     "INFO  [Service Thread] 2017-03-21 17:11:05,463 GCInspector.java:252 - ConcurrentMarkSweep GC in 9487ms.  "
     "CMS Old Gen: 3039553840 -> 3027311712; Par Eden Space: 833093632 -> 0; Par Survivor Space: 46277016 -> 0"),
    # https://github.com/apache/cassandra-nodejs-driver/pull/136
    ("cassandra", "cassandra@n1", "cassandra@n1", "dropped", M, 40,
     "INFO  [ScheduledTasks:1] 2016-04-25 18:08:45,578 MessagingService.java:983 - MUTATION messages were dropped in "
     "last 5000 ms: 5 for internal timeout and 0 for cross node timeout"),
    # --- Kafka
    # https://github.com/confluentinc/cp-docker-images/issues/799
    ("kafka", "broker@4", "broker@0", "fetch", U, 20,
     "[2019-09-21 11:24:07,626] WARN [ReplicaFetcher replicaId=4, leaderId=0, fetcherId=0] Error in response for fetch "
     "request (type=FetchRequest, replicaId=4, maxWait=500, minBytes=1, maxBytes=10485760, fetchData={TOPIC-4=(off"),
    ("kafka", "broker@4", "broker@0", "fetch", U, 20,
     "[2019-09-21 11:24:07,625] INFO [ReplicaFetcher replicaId=4, leaderId=0, fetcherId=0] Error sending fetch request "
     "(sessionId=514675011, epoch=INITIAL) to node 0: java.io.IOException: Connection to 0 was disconnected before the "
     "response was read. (org.apache.kafka.clients.FetchSessionHandler)"),
    # https://github.com/SOHU-Co/kafka-node/issues/861
    ("kafka", "broker@101", "broker@102", "fetch", U, 20,
     "[2018-02-03 16:23:25,546] WARN [ReplicaFetcher replicaId=101, leaderId=102, fetcherId=0] Error in fetch to broker "
     "102, request (type=FetchRequest, replicaId=101, maxWait=500, minBytes=1, maxBytes=10485760"),
    # https://github.com/bitnami/charts/issues/24817
    ("kafka", "broker@1", "broker@0", "connect", U, 20,
     "[2025-06-16 14:10:30,702] WARN [NodeToControllerChannelManager id=1 name=heartbeat] Connection to node 0 "
     "(kafka-controller-0.kafka-controller-headless.mpopova.svc.cluster.local/10.104.4.14:9093) could not be "
     "established. Node may not be available. (org.apache.kafka.clients.NetworkClient)"),
    # https://devopsaitoolkit.com/blog/kafka-error-isr-shrink-expand/
    ("kafka", "broker@1", "broker@3", "isr", U, 30,
     "[2026-06-29 14:02:11,418] INFO [Partition topic-0 broker=1] Shrinking ISR from 1,2,3 to 1,2. Leader: "
     "(highWatermark: 884213, endOffset: 884221). Out of sync replicas: (brokerId: 3, endOffset: 883740, "
     "lastCaughtUpTimeMs: 1719669700912). (kafka.cluster.Partition)"),
    ("kafka", "broker@1", "broker@3", "isr", H, 90,
     "[2026-06-29 14:02:39,902] INFO [Partition topic-0 broker=1] Expanding ISR from 1,2 to 1,2,3 "
     "(kafka.cluster.Partition)"),
    # https://github.com/confluentinc/kafka-images/issues/132
    ("kafka", "broker@1", "broker@1", "log_dir", U, 10,
     "[2021-12-22 13:03:15,573] WARN [ReplicaManager broker=1] Stopping serving replicas in dir /var/lib/kafka/data "
     "(kafka.server.ReplicaManager)"),
    ("kafka", "kafka@n1", "kafka@n1", "log_dir", D, 0,
     "[2021-12-22 13:03:15,590] ERROR Shutdown broker because all log dirs in /var/lib/kafka/data have failed "
     "(kafka.log.LogManager)"),
    # https://github.com/strimzi/strimzi-kafka-operator/issues/4844, its title behind the date of Strimzi's logs
    ("kafka", "kafka@n1", "kafka@n1", "log_dir", D, 0,
     "2021-04-28 00:00:00,000 ERROR Shutdown broker because all log dirs in /var/lib/kafka/data-0/kafka-log0 have "
     "failed (kafka.log.LogManager) [LogDirFailureHandler]"),
    # the formats of ReplicationControlManager and KafkaController (apache/kafka)
    ("kafka", "broker@3", "broker@2", "session", D, 0,
     "[2022-07-01 00:00:00,000] INFO [QuorumController id=3] Fencing broker 2 because its session has timed out. "
     "(org.apache.kafka.controller.ReplicationControlManager)"),
    ("kafka", "broker@3", "broker@1", "session", D, 0,
     "[2020-09-01 00:00:00,000] INFO [Controller id=3] Newly added brokers: , deleted brokers: 1, bounced brokers: , "
     "all live brokers: 2,3 (kafka.controller.KafkaController)"),
    # https://github.com/mesos/kafka/issues/113
    ("kafka", "kafka@n1", "broker@1", "session", H, 90,
     "[2015-09-01 09:55:25,338] INFO [BrokerChangeListener on Controller 3]: Newly added brokers: 1, deleted "
     "brokers: , all live brokers: 0,5,1,2,3,4 (kafka.controller.ReplicaStateMachine$BrokerChangeListener)"),
    # a log in a public repository (index id 42089443443)
    ("kafka", "broker@0", "broker@0", "session", H, 90,
     "[2024-06-09 07:41:17,963] INFO [QuorumController id=0] The request from broker 0 to unfence has been granted "
     "because it has caught up with the offset of its register broker record 32. "
     "(org.apache.kafka.controller.BrokerHeartbeatManager)"),
    # --- the kernel
    # https://github.com/raspberrypi/linux/issues/885
    ("kernel", "kernel@n1", "host@n1", "disk:sda", U, 20,
     "[ 3837.406057] blk_update_request: I/O error, dev sda, sector 551"),
    ("kernel", "kernel@n1", "host@n1", "disk:sda1", U, 20,
     "[ 3837.406095] Buffer I/O error on dev sda1, logical block 244, lost async page write"),
    # https://github.com/raspberrypi/linux/issues/703
    ("kernel", "kernel@sentinel.donadio.be", "host@sentinel.donadio.be", "disk:dm-1", U, 20,
     "Nov 22 17:46:18 sentinel.donadio.be kernel: Buffer I/O error on device dm-1, logical block 14403801"),
    # https://github.com/1000001101000/Debian_on_Buffalo/issues/161
    ("kernel", "kernel@n1", "host@n1", "disk:sdb6", U, 10,
     "[19732.877363] md/raid:md2: Disk failure on sdb6, disabling device."),
    ("kernel", "kernel@n1", "host@n1", "disk:sdb", U, 20,
     "[19732.858812] I/O error, dev sdb, sector 14008336 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2"),
    # https://github.com/sonic-net/sonic-buildimage/issues/4822
    ("kernel", "kernel@n1", "host@n1", "hung_task", U, 30,
     "[26825.855448] INFO: task kworker/2:1:5747 blocked for more than 120 seconds."),
    # https://github.com/logrotate/logrotate/issues/232: dmesg -T
    ("kernel", "kernel@n1", "host@n1", "hung_task", U, 30,
     "[Wed Dec 19 03:36:07 2018] INFO: task logrotate:17344 blocked for more than 120 seconds."),
    # https://github.com/gluster/gluster-health-report/pull/19
    ("kernel", "kernel@glustern1", "host@glustern1", "hung_task", U, 30,
     "Oct 11 06:07:26 glustern1 kernel: INFO: task glusterfsd:26120 blocked for more than 120 seconds."),
    # https://github.com/starfive-tech/Fedora_on_StarFive/issues/34
    ("kernel", "kernel@n1", "host@n1", "cpu", U, 20,
     "[53021.381908] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [cc1plus:171665]"),
    # https://github.com/openzfs/zfs/issues/3031
    ("kernel", "kernel@storage-pod", "host@storage-pod", "cpu", U, 20,
     "Jan 21 18:44:55 storage-pod kernel: INFO: rcu_sched self-detected stall on CPU { 17}  (t=15001 jiffies "
     "g=310464443 c=310464442 q=0)"),
    # https://github.com/Kimplul/hid-tmff2/issues/22
    ("kernel", "kernel@n1", "host@n1", "cpu", U, 20,
     "[13889.797554] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"),
    # https://github.com/ColinIanKing/stress-ng/issues/177 (of the second line only the begin is shown there)
    ("kernel", "kernel@n1", "stress-ng@n1", "segfault", U, 20,
     "[44179.196425] stress-ng[1821]: segfault at 10000c44d10 ip 0000000000a239c4 (rpc 00000000009cab50) "
     "sp fff80002849af1a1 error 2 in stress-ng[10000000000+148000]"),
    ("kernel", "kernel@n1", "host@n1", "memory", U, 20,
     "[10393.148711] Out of memory: Killed process 1023 (haveged) total-vm:1kB"),
    # https://github.com/docker/for-linux/issues/1001: at its own limit, which is not the host's want
    ("kernel", "kernel@ubuntu-s-1vcpu-2gb-ams3-01", "python3@ubuntu-s-1vcpu-2gb-ams3-01", "memory", U, 20,
     "May 15 23:09:27 ubuntu-s-1vcpu-2gb-ams3-01 kernel: [  514.682838] Memory cgroup out of memory: Killed process "
     "15617 (python3) total-vm:11892kB, anon-rss:4292kB, file-rss:3428kB, shmem-rss:0kB"),
    # https://github.com/PartialVolume/shredos.x86_64/issues/332
    ("kernel", "kernel@n1", "host@n1", "link:eth0", U, 20, "[24674.100025] r8169 0000:03:00.1 eth0: Link is Down"),
    # https://github.com/kangear/tiny210v2-uboot/issues/5
    ("kernel", "kernel@n1", "host@n1", "link:eth0", U, 20, "[    3.184270] dm9000 dm9000: eth0: link down"),
    ("kernel", "kernel@n1", "host@n1", "link:eth0", H, 100,
     "[   65.418609] dm9000 dm9000: eth0: link up, 100Mbps, full-duplex, lpa 0x4DE1"),
    # https://github.com/nfs-ganesha/nfs-ganesha/issues/1295
    ("kernel", "kernel@n1", "nfs@100.73.159.36", "nfs", U, 20,
     "[1576939.453001] nfs: server 100.73.159.36 not responding, still trying"),
    # https://github.com/linux-surface/linux-surface/issues/1494
    ("kernel", "kernel@n1", "nfs@thinkcentre", "nfs", H, 90, "[32958.266147] nfs: server thinkcentre OK"),
    # --- syslog
    # https://github.com/wballard/starphleet/pull/352
    ("syslog", "kernel@jobs", "host@jobs", "conntrack", U, 30,
     "Feb 23 16:44:36 jobs kernel: [38775494.393661] nf_conntrack: table full, dropping packet"),
    # https://github.com/miniflux/v2/issues/339, its month in English
    ("syslog", "systemd@ubuntu-miniflux", "miniflux.service@ubuntu-miniflux", "unit", U, 20,
     "Mar 07 13:28:11 ubuntu-miniflux systemd[1]: miniflux.service: Failed with result 'exit-code'."),
    # https://github.com/owfs/owfs/issues/116
    ("syslog", "systemd@piotr", "owserver.service@piotr", "unit", D, 0,
     "Aug 01 22:02:23 piotr systemd[1]: owserver.service: Start request repeated too quickly."),
    # https://github.com/remind101/empire/issues/160
    ("syslog", "systemd@c1", "r101-bablefish.1.web.1.service@c1", "unit", U, 20,
     "Mar 06 02:30:04 c1 systemd[1]: Unit r101-bablefish.1.web.1.service entered failed state."),
    ("syslog", "systemd@c1", "r101-bablefish.1.web.1.service@c1", "unit", D, 0,
     "Mar 06 02:30:04 c1 systemd[1]: start request repeated too quickly for r101-bablefish.1.web.1.service"),
    # https://wikiroot.ru/question/staryy-jestkiy-disk-interpretaciya-vyvoda-smartctl
    ("syslog", "smartd@turtle", "host@turtle", "disk:sda", M, 40,
     "Jul 24 03:12:46 turtle smartd[1443]: Device: /dev/sda, 1 Currently unreadable (pending) sectors"),
    # the format of smartmontools' smartd.cpp
    ("syslog", "smartd@n1", "host@n1", "disk:sdb", DY, 5,
     "<26>Jun 20 10:23:48 n1 smartd[1234]: Device: /dev/sdb [SAT], FAILED SMART self-check. BACK UP DATA NOW!"),
    # RFC 5424's form (section 6.5), and journalctl's -o short-full
    ("syslog", "systemd@n1", "db.service@n1", "unit", U, 20,
     '<27>1 2026-11-21T22:14:15.003Z n1 systemd 1 - [x@1 a="b]"] db.service: Failed with result \'signal\'.'),
    ("journald", "systemd@n1", "db.service@n1", "unit", H, 90,
     "Sat 2026-11-21 22:14:15 UTC n1 systemd[1]: Started db.service - The database."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("plugin", "observer", "subject", "context", "status", "score", "line"), SAID, ids=[f"{s[0]}-{s[3]}" for s in SAID]
)
def test_a_published_line(plugin, observer, subject, context, status, score, line) -> None:
    report = LOG_FILTERS.make(plugin, "n1", zone=timezone.utc).read(line, "log", NOW)
    assert report is not None
    assert (report.observer, report.subject) == (observer, subject)
    assert report.contexts == {context: Metric(status, score)}
    dated = re.match(r"\[ *\d+\.", line) is None
    assert report.t_ns < NOW if dated else report.t_ns == NOW, "the line's own time where it has one"


SILENT = [
    # loghub, Zookeeper_2k.log: a stranger at the election port is taken for an id; a peer that is well
    ("zookeeper", "2015-07-29 19:13:24,282 - WARN  [RecvWorker:188978561024:QuorumCnxManager$RecvWorker@762] - "
     "Connection broken for id 188978561024, my id = 1, error = "),
    ("zookeeper", "2015-07-29 17:41:44,747 - INFO  [QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181:FastLeaderElection@774] - "
     "Notification time out: 3200"),
    ("zookeeper", "2015-07-29 19:04:12,394 - INFO  [/10.10.34.11:3888:QuorumCnxManager$Listener@493] - "
     "Received connection request /10.10.34.11:45307"),
    ("zookeeper", "2017-05-26 17:26:04,937 [myid:0] - DEBUG [WorkerSender[myid=0]:QuorumCnxManager@382] - "
     "Cannot open channel to 1 at election address pano1/10.0.0.5:3888"),
    ("zookeeper", "2017-05-26 17:26:04,937 [myid:0] - INFO  [main:X@1] - he said: Cannot open channel to 1 at election "
     "address x"),
    # loghub, HDFS_2k.log: a reader that went away is nobody's fault
    ("hdfs", "081109 214043 2561 WARN dfs.DataNode$DataXceiver: 10.251.30.85:50010:Got exception while serving "
     "blk_-2918118818249673980 to /10.251.90.64:"),
    ("hdfs", "081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block blk_38865049064139660 "
     "terminating"),
    ("hdfs", "081109 204005 35 INFO dfs.FSNamesystem: BLOCK* NameSystem.addStoredBlock: blockMap updated: "
     "10.251.73.220:50010 is added to blk_7128370237687728475 size 67108864"),
    # https://github.com/apache/hadoop/pull/4568
    ("hdfs", "2022-09-07 13:52:07,730 INFO org.apache.hadoop.net.NetworkTopology (IPC Server handler 26 on default port "
     "8020): Removing a node: /default-rack/DN4:9866"),
    ("hdfs", "java.io.IOException: Bad connect ack with firstBadLink as 10.0.0.11:50010"),
    # https://github.com/Intel-bigdata/TensorFlowOnYARN/issues/5: the one that waits is not the slow one
    ("hdfs", "2017-03-16 00:00:00,000 WARN org.apache.hadoop.hdfs.server.datanode.DataNode: "
     "Slow BlockReceiver write packet to mirror took 1667ms (threshold=300ms)"),
    ("hdfs", "2020-12-30 00:00:00,000 WARN org.apache.hadoop.hdfs.server.datanode.DataNode: Slow BlockReceiver write "
     "packet to mirror took 401ms (threshold=300ms), downstream DNs=[DatanodeInfoWithStorage[10.0.0.2:9866,null,null]], "
     "blockId=1477503063"),
    # https://github.com/mattshma/bigdata/issues/25: a chore that is late, a session of somebody else's
    ("hbase", "2016-05-09 19:38:05,742 INFO org.apache.hadoop.hbase.ScheduledChore: Chore: CompactionChecker missed its "
     "start time"),
    ("hbase", "2016-05-09 19:38:05,741 INFO org.apache.zookeeper.ClientCnxn: Client session timed out, have not heard "
     "from server in 62195ms for sessionid 0x25475cdd7470285, closing socket connection and attempting reconnect"),
    ("hbase", "2016-05-09 19:38:05,742 INFO org.apache.hadoop.hbase.util.JvmPauseMonitor: Detected pause in JVM or host "
     "machine (eg GC): pause of approximately 1738ms"),
    # https://github.com/datastax/cass-operator/issues/194
    ("cassandra", "INFO  [GossipStage:1] 2020-10-23 08:01:42,066 StorageService.java:2394 - Node /192.168.106.245 state "
     "jump to NORMAL"),
    ("cassandra", "INFO  [Service Thread] 2021-05-19 07:40:12,130 GCInspector.java:284 - ParNew GC in 248ms.  "
     "CMS Old Gen: 5043436640 -> 5091062064; Par Eden Space: 671088640 -> 0"),
    ("cassandra", "INFO  [Native-Transport-1] 2021-05-19 07:40:12,130 QueryLogger.java:1 - InetAddress 10.0.0.1 is now "
     "DOWN"),
    # KAFKA-7838, https://github.com/apache/kafka/pull/6168: a leader that lost both may itself be cut off
    ("kafka", "[2019-01-18 00:00:00,000] INFO [Partition t-0 broker=0] Shrinking ISR from 1,2,0 to 0. Leader: "
     "(highWatermark: 0, endOffset: 20). Out of sync replicas: (brokerId: 1, endOffset: 19) (brokerId: 2, endOffset: "
     "19). (kafka.cluster.Partition)"),
    # of several that come at once one line cannot say all; they are well
    ("kafka", "[2015-09-01 09:55:25,338] INFO [BrokerChangeListener on Controller 3]: Newly added brokers: 1,2, deleted "
     "brokers: , all live brokers: 0,5,1,2,3,4 (kafka.controller.ReplicaStateMachine$BrokerChangeListener)"),
    # https://github.com/vdesabou/kafka-docker-playground/issues/8266: a bootstrap address is no broker
    ("kafka", "[2026-07-16 11:19:24,986] WARN [Producer clientId=connect-connect-adminclient-producer-offsets] Connection "
     "to node -2 (broker/172.19.0.5:11092) could not be established. Node may not be available. "
     "(org.apache.kafka.clients.NetworkClient:1001)"),
    ("kafka", "[2026-06-29 14:02:11,420] INFO [Partition topic-0 broker=1] ISR updated to 1,2 and version updated to 47 "
     "(kafka.cluster.Partition)"),
    # https://github.com/1000001101000/Debian_on_Buffalo/issues/161
    ("kernel", "[19732.521492] ata1.15: SATA link up 3.0 Gbps (SStatus 123 SControl F300)"),
    # a report of dracut's in a public repository (index id 8000661271): a floppy drive that is not there
    ("kernel", "[  219.318200] blk_update_request: I/O error, dev fd0, sector 0"),
    ("syslog", "Jun 15 04:06:20 combo kernel: [  219.318200] Buffer I/O error on dev sr0, logical block 0, async page "
     "read"),
    # https://github.com/raspberrypi/linux/issues/703: a warning, beside errors that are told
    ("kernel", "Nov 22 17:46:18 sentinel.donadio.be kernel: EXT4-fs warning (device dm-1): ext4_end_bio:316: writing"),
    # https://github.com/kangear/tiny210v2-uboot/issues/5
    ("kernel", "[    3.184447] ADDRCONF(NETDEV_UP): eth0: link is not ready"),
    # https://github.com/sonic-net/sonic-buildimage/issues/4822
    ("kernel", '[26825.866477] "echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.'),
    # https://github.com/docker/for-linux/issues/1001
    ("kernel", "May 15 23:09:27 ubuntu kernel: [  514.686093] oom_reaper: reaped process 15617 (python3), now "
     "anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"),
    ("kernel", "Jun  3 10:00:01 web7 sshd[1]: Out of memory: Killed process 4711 (java)"),
    # loghub, Linux_2k.log
    ("syslog", "Jun 15 04:06:20 combo logrotate: ALERT exited abnormally with [1]"),
    ("syslog", "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure; logname= uid=0 euid=0 tty=NODEVssh "
     "ruser= rhost=218.188.2.4 "),
    # https://github.com/miniflux/v2/issues/339
    ("syslog", "Mar 07 13:28:11 ubuntu-miniflux systemd[1]: miniflux.service: Scheduled restart job, restart counter is "
     "at 5."),
    ("syslog", "Mar 07 13:28:11 ubuntu-miniflux systemd[1]: Stopped Miniflux Feed Reader."),
    ("syslog", "Mar 07 13:28:11 ubuntu-miniflux web[1]: miniflux.service: Failed with result 'exit-code'."),
    ("journald", "Nov 21 20:00:00 n1 web[7]: kernel: Out of memory: Killed process 1 (x)"),
]  # fmt: skip


@pytest.mark.parametrize(("plugin", "line"), SILENT, ids=[plugin for plugin, _ in SILENT])
def test_healthy_lines_and_look_alikes_say_nothing(plugin: str, line: str) -> None:
    assert LOG_FILTERS.make(plugin, "n1", zone=timezone.utc).read(line, "log", NOW) is None


@pytest.mark.parametrize("plugin", list(LOG_FILTERS))
def test_feature_11_every_filter_has_published_lines_and_negatives(plugin: str) -> None:
    assert [s for s in SAID if s[0] == plugin]
    assert [s for s in SILENT if s[0] == plugin]


def test_an_ensemble_file_names_servers_by_their_ids() -> None:
    from vagus.health.ensemble import Ensemble

    ensemble = Ensemble.parse(b"server.dn3=10.0.0.11:0:0\n", "e")
    line = "16/03/30 08:33:32 INFO hdfs.DFSClient: Excluding datanode 10.0.0.11:50010"
    report = LOG_FILTERS.make("hdfs", "n1", ensemble=ensemble).read(line, "log", NOW)
    assert isinstance(report, Report)
    assert report.subject == "datanode@dn3"


def test_this_hosts_lines_are_about_this_node_whatever_it_calls_itself() -> None:
    line = "Nov 21 20:00:00 {} kernel: Out of memory: Killed process 4711 (db)"
    made = LOG_FILTERS.make("syslog", "n1", hostname="web7.example.org")
    for host in ("n1", "web7", "web7.example.org", "localhost"):
        assert made.read(line.format(host), "log", NOW).subject == "host@n1"
    assert made.read(line.format("web8"), "log", NOW).subject == "host@web8"
