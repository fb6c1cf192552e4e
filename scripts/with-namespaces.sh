#!/bin/sh
# Runs a command where it may make network namespaces: as root directly, else as root of a user namespace of its own
# with private /run and /etc, where the system allows that. Otherwise the command runs as it is and finds out itself.
PATH=$(dirname "$0")/../node_modules/.bin:$PATH:/usr/sbin:/sbin
export PATH
[ "$(id -u)" != 0 ] || exec "$@"
# shellcheck disable=SC2016
private='mount -t tmpfs tmpfs /run && mkdir /run/upper /run/work &&
  mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work overlay /etc &&
  mkdir -p /etc/netns && mount -t tmpfs tmpfs /etc/netns && ip link set lo up'
if unshare -Urnm sh -c "$private" 2>/dev/null; then
  export CYPHONIC_USERNS=1
  exec unshare -Urnm sh -c "$private"' && exec "$@"' sh "$@"
fi
exec "$@"
