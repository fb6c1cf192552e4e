#!/bin/sh
# npm test: unit, property, simulation and laboratory tests. Arguments go to vitest.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh ip nft ethtool ping unshare iperf3 dig curl tcpdump miniupnpd tayga tinyproxy udhcpc dhclient dhcpcd arping rdisc6 tshark wpa_supplicant pg_ctlcluster redis-server bird conntrack
exec sh scripts/with-namespaces.sh node node_modules/vitest/vitest.mjs run "$@"
