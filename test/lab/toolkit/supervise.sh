#!/bin/sh
# Runs a service as systemd would: when it has ended, however it did, its host leaves the routing (ExecStopPost).
# supervise.sh CONTROL-SOCKET-OF-BIRD COMMAND…
control=$1
shift
trap : TERM
"$@" &
service=$!
echo "pid $service"
wait "$service"
code=$?
while kill -0 "$service" 2>/dev/null; do
  kill -TERM "$service" 2>/dev/null
  wait "$service"
  code=$?
done
birdc -s "$control" disable '"service*"' >/dev/null
exit "$code"
