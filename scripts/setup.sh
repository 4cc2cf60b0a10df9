#!/usr/bin/env bash
# Installs what the make targets need and this machine lacks.
#
# Usage: scripts/setup.sh [cc] [clamd] [chromium] [node] [python3] [openssl] [curl] [golangci-lint]
#
#   cc             a C compiler, which Go's race detector is linked with
#   clamd          the ClamAV daemon: the demo and the tests run their own one, on
#                  signatures from this repository. No virus database is fetched,
#                  and no service is left running.
#   chromium       a browser, for the tests of the demo page
#   node           Node.js with npm, for the tests with the JavaScript library
#   python3, openssl, curl
#                  for the tests of the examples and of what the documentation shows
#   golangci-lint  the linter, built into .tools/bin
#
# Go itself has to be there. System packages are installed with apt as root or through a sudo that asks no
# password. Where that is not possible, the script prints the command to run and
# fails. It can be repeated at any time and is quick when nothing is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

golangci_lint_version=2.15.0

has() {
	local name
	for name in "$@"; do
		command -v "$name" >/dev/null && return
	done
	return 1
}

has_clamd() { has clamd /usr/sbin/clamd /usr/local/sbin/clamd /opt/homebrew/sbin/clamd; }

has_chromium() {
	has chromium chromium-browser google-chrome google-chrome-stable headless-shell ||
		[ -d "/Applications/Google Chrome.app" ]
}

# Prints a command that installs the Debian packages "$@" on this system.
install_command() {
	local packages="$*"
	if has apt-get; then
		echo "sudo apt-get update && sudo apt-get install --no-install-recommends $packages"
	elif has dnf; then
		packages=${packages/libc6-dev/glibc-devel}
		echo "sudo dnf install ${packages/clamav-daemon/clamd}"
	elif has brew; then
		packages=${packages/clamav-daemon/clamav}
		packages=${packages/nodejs npm/node}
		echo "brew install ${packages/chromium/google-chrome}"
	else
		echo "install, with the package manager of this system: $packages"
	fi
}

fail() {
	printf '%s\n' "$@" >&2
	exit 1
}

# Installs the packages "$@" as root, and starts none of their services:
# freshclam would fetch virus databases, and our clamd is not a service.
apt_install() {
	local as_root=()
	if [ "$(id -u)" -ne 0 ]; then
		as_root=(sudo -n)
	fi
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive bash -euo pipefail -c '
		policy=/usr/sbin/policy-rc.d
		if [ ! -e "$policy" ]; then
			trap "rm -f $policy" EXIT
			printf "#!/bin/sh\nexit 101\n" >"$policy"
			chmod 755 "$policy"
		fi
		options=(-qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
		apt-get "${options[@]}" update
		apt-get "${options[@]}" install -y --no-install-recommends "$@"
		if [[ " $* " == *" clamav-daemon "* ]] && command -v systemctl >/dev/null; then
			systemctl --quiet disable clamav-daemon.service clamav-daemon.socket clamav-freshclam.service ||
				echo "the services clamav-daemon and clamav-freshclam could not be disabled"
		fi
	' apt_install "$@" </dev/null
}

install_packages() {
	if ! has apt-get || { [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; }; then
		fail "setup: missing: $*. Run this, and then the same command again:" \
			"  $(install_command "$@")"
	fi
	echo "setup: installing $*" >&2
	local log
	if ! log=$(apt_install "$@" 2>&1); then
		fail "$log" "setup: apt could not install $*; it says why above. To try by hand:" \
			"  $(install_command "$@")"
	fi
}

install_golangci_lint() {
	local target=.tools/bin/golangci-lint program
	for program in "$target" golangci-lint; do
		if program=$(command -v "$program") &&
			[ "$("$program" version --short 2>/dev/null)" = "$golangci_lint_version" ]; then
			[ "$program" = "$target" ] || ln -sf "$program" "$target"
			return
		fi
	done
	echo "setup: building golangci-lint $golangci_lint_version, which takes some minutes" >&2
	rm -f "$target"
	GOBIN="$PWD/.tools/bin" go install \
		"github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$golangci_lint_version"
}

has go || fail "setup: Go $(awk '$1 == "go" {print $2}' go.mod) or later is missing: see https://go.dev/doc/install"

packages=()
for need in "$@"; do
	case $need in
	cc) has "$(go env CC)" || packages+=(gcc libc6-dev) ;;
	clamd) has_clamd || packages+=(clamav-daemon) ;;
	chromium) has_chromium || packages+=(chromium) ;;
	node)
		{ has node && has npm; } || packages+=(nodejs npm)
		;;
	python3 | openssl | curl)
		has "$need" || packages+=("$need")
		;;
	golangci-lint)
		mkdir -p .tools/bin
		install_golangci_lint
		;;
	*) fail "setup: unknown: $need (known: cc, clamd, chromium, node, python3, openssl, curl, golangci-lint)" ;;
	esac
done
if [ ${#packages[@]} -gt 0 ]; then
	install_packages "${packages[@]}"
fi
