#!/bin/sh
# Runs one fuzz target for a time, and prints what came of it: fuzz.sh PACKAGE TARGET TIME.
#
# When the time is over in the middle of an input, "go test" may end with "context deadline exceeded" as if that were a
# failure of the target. That alone, without an input that fails, is a good end.
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT
go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 2s -parallel 1 "$1" >"$log" 2>&1
status=$?
if [ "$status" -ne 0 ] && grep -qx '    context deadline exceeded' "$log" &&
	! grep -Eq 'Failing input|panic|terminated unexpectedly|_test\.go:' "$log"; then
	echo "the time was over in the middle of an input" >>"$log"
	status=0
fi
{
	echo "== $1 $2 for $3"
	if [ "$status" -eq 0 ]; then tail -n 3 "$log"; else cat "$log"; fi
}
exit "$status"
