#!/bin/bash
# What a pod of the RayCluster runs. start: Ray's node, and on the head vagus; stop: the hook before its end.
# Never `ray stop` here: with the node's process IDs it would find the Ray of other pods too.
set -um # each job is a process group, which can be ended as a whole
role=worker
[ "$RAY_NODE_TYPE_NAME" = headgroup ] && role=head

begin() { # fails while Ray's head is not there yet
  until vagus up --address auto --config /etc/vagus/vagus.yaml; do sleep 5; done
}

start() {
  vagus down # limits that an earlier pod on this node had no time to restore
  ulimit -n 65536
  eval "exec $KUBERAY_GEN_RAY_START_CMD --labels=vagus/role=$role,vagus/node=${NODE_NAME:0:63}" &
  ray=$!
  trap 'kill -TERM "$ray"' TERM
  if [ "$role" = head ]; then
    begin &
    up=$!
  fi
  while kill -0 "$ray" 2> /dev/null; do wait "$ray"; done # a signal ends the wait early
  wait "$ray" # Bash keeps the status of what it waited for
  status=$?
  [ "$role" = worker ] || kill -- "-$up" 2> /dev/null
  vagus down # what is left of limits when Ray ended by itself
  exit "$status"
}

stop() {
  # The head's end is the cluster's, since a new head knows nothing of it; a worker takes its leave.
  if [ "$role" = head ]; then vagus down; else vagus down --leave; fi
}

"$1"
