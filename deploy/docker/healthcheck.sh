#!/bin/sh
# Healthy: a node or adapter answers `status`; a service listens on its port.
export CYPHONIC_STATE="${CYPHONIC_STATE:-/var/lib/cyphonic}"
sockets=${CYPHONIC_PROC_NET:-/proc/net}

# Ports are hexadecimal in /proc/net; TCP sockets must be in state 0A (listening).
udp() { cat "$sockets/udp" "$sockets/udp6" 2>/dev/null | grep -qi ":$(printf %04X "$1") "; }
tcp() { cat "$sockets/tcp" "$sockets/tcp6" 2>/dev/null | grep -Eqi ":$(printf %04X "$1") [0-9A-F]+:0000 0A"; }

case ${CYPHONIC_ROLE:-} in
  node | adapter) exec cyphonic status >/dev/null ;;
  as) tcp 7440 ;;
  nms) udp 7441 ;;
  trs) udp 7442 ;;
  *) tcp 7440 && udp 7441 && udp 7442 ;;
esac
