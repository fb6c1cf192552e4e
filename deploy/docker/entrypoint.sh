#!/bin/sh
# Runs the role that CYPHONIC_ROLE names; arguments are added to its command. Without a role the arguments are the
# command, such as `cloud init --domain lab.example`. Ends in exec: the daemon gets the container's signals.
set -eu
export CYPHONIC_DIR="${CYPHONIC_DIR:-/var/lib/cyphonic}"
export CYPHONIC_STATE="${CYPHONIC_STATE:-/var/lib/cyphonic}"

case ${CYPHONIC_ROLE:-} in
  '') exec cyphonic "$@" ;;
  cloud) exec cyphonic cloud serve "$@" ;;
  as | nms | trs) exec cyphonic "$CYPHONIC_ROLE" serve "$@" ;;
  node | adapter)
    if [ "$(id -u)" != 0 ]; then
      echo "a $CYPHONIC_ROLE makes network interfaces: run the container with --user root --cap-add NET_ADMIN --cap-add NET_RAW --device /dev/net/tun" >&2
      exit 2
    fi
    exec cyphonic "$CYPHONIC_ROLE" up "$@"
    ;;
  *)
    echo "CYPHONIC_ROLE=$CYPHONIC_ROLE is none of cloud, as, nms, trs, node, adapter" >&2
    exit 2
    ;;
esac
