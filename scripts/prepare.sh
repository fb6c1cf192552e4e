#!/bin/sh
# Makes a bare checkout runnable: npm packages, and the system packages behind the commands named as arguments.
# Ends 0 also if a command stays missing and may be done without; whoever needs it says so.
set -eu
cd "$(dirname "$0")/.."

if [ ! -x node_modules/.bin/node ] || ! node scripts/is-installed.mjs; then
  echo "Installing npm packages (npm ci)"
  # The packages' own engines are those of the Node that gets installed, not of the one that runs npm.
  npm ci --loglevel=error
fi

PATH=$PATH:/usr/sbin:/sbin
packages=
for command in "$@"; do
  command -v "$command" >/dev/null 2>&1 && continue
  case $command in
    ip | tc) package=iproute2 ;;
    nft) package=nftables ;;
    ping) package=iputils-ping ;;
    dig) package=dnsutils ;;
    unshare) package=util-linux ;;
    pg_ctlcluster) package=postgresql ;;
    wpa_supplicant) package=wpasupplicant ;;
    bird) package=bird2 ;;
    dhclient) package=isc-dhcp-client ;;
    dhcpcd) package=dhcpcd-base ;;
    rdisc6) package=ndisc6 ;;
    tinyproxy) package=tinyproxy-bin ;;
    miniupnpd) package=miniupnpd-nftables ;;
    *) package=$command ;;
  esac
  case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
done
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "Missing system packages, to be installed by hand:$packages" >&2
  exit 0
elif [ "$(id -u)" = 0 ]; then
  as_root=
elif command -v sudo >/dev/null 2>&1; then
  as_root=sudo
else
  echo "Missing system packages; as root, run: apt-get install$packages" >&2
  exit 0
fi

echo "Installing system packages with ${as_root:+$as_root }apt-get:$packages"
# policy-rc.d answering 101 keeps a package from starting a service of its own.
# shellcheck disable=SC2016,SC2086
$as_root sh -eu -c '
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap "rm -f $policy" EXIT
    trap "exit 1" HUP INT TERM
    printf "#!/bin/sh\nexit 101\n" >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update
  apt-get -qy install --no-install-recommends "$@"
' sh $packages || echo "apt-get failed; by hand: apt-get install$packages" >&2
