#!/bin/sh
# Makes dist/cyphonic: the whole program, Node included, in one file for this machine's architecture. An argument names
# another directory than dist.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh
PATH=$PWD/node_modules/.bin:$PATH
output=${1:-dist}
build=$output/build
rm -rf "$build"
mkdir -p "$build"

# Stripped before the program is put in: afterwards strip would destroy it. Symbols that addons link to stay.
if command -v strip >/dev/null 2>&1; then
  strip -o "$build/node" node_modules/node/bin/node
else
  echo "strip (binutils) is not installed: the result is larger by a quarter"
  cp node_modules/node/bin/node "$build/node"
fi

node --disable-warning=ExperimentalWarning scripts/bundle.ts "$build"
node --build-sea "$build/sea.json"
rm -rf "$build"
