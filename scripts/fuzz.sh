#!/usr/bin/env bash
# Runs every fuzz target of the module for a while.
#
# Usage: scripts/fuzz.sh [TIME per target, such as 30s; 10s by default]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=${1:-10s}
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done
done
