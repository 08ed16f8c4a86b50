#!/bin/sh
# As the official image: arguments of the server may come without its name.
[ "$1" = minio ] || { [ -z "$1" ] || set -- minio "$@"; }
exec "$@"
