#!/bin/sh
# Cargo's runner for this workspace. Test programs (target/…/deps/…) start in a network and mount namespace of their own,
# as root or, for an ordinary user, in a user namespace too. Everything else (cargo run, cargo xtask) starts as it is.
case "$1" in
*/deps/*) ;;
*) exec "$@" ;;
esac
if [ "$(id -u)" = 0 ]; then flags=-nm; else flags=-rnm; fi
# shellcheck disable=SC2016
exec unshare "$flags" --propagation private sh -c '
  mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link set lo up || exit 125
  MULTUS_TESTBED_NAMESPACE=1 exec "$@"
' sh "$@"
