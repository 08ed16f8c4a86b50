#!/bin/sh
exec /usr/local/bin/python /opt/standin/rpk.py "$@"
