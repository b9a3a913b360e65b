#!/bin/sh
# Packs the source tree into the file named, for the guests. Called by the Vagrantfile.
set -eu
mkdir -p "$(dirname "$1")"
cd "$(dirname "$0")/.."
tar -czf "$1.new" --exclude=./target --exclude=./.git --exclude=./out --exclude=./vagrant/.vagrant --exclude=./pcaps .
mv "$1.new" "$1"
