#!/bin/sh
# Verifies a copy of <data>/evidence with a program in Go, built offline from Debian's packages alone:
#   apt install golang-go golang-golang-x-mod-dev
# usage: verify.sh [-from NOTE] LOG VKEY      (the key: sop audit key; a NOTE: sop audit checkpoint > NOTE)
# Exits with 2, and the first mismatch, if the log is not what was signed.
set -eu
here=$(dirname "$(readlink -f "$0")")
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
GO111MODULE=off GOPATH="${GOPATH:-/usr/share/gocode}" GOCACHE="$built/cache" GOFLAGS= go build -o "$built/verify" "$here/verify.go"
"$built/verify" "$@"
