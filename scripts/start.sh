#!/bin/sh
# npm start: a whole network in namespaces on this machine.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh ip nft ping unshare udhcpc wpa_supplicant
exec sh scripts/with-namespaces.sh node --disable-warning=ExperimentalWarning scripts/demo.ts "$@"
