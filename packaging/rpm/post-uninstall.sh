systemctl daemon-reload >/dev/null 2>&1 || :
# After an upgrade, the new version takes over the sockets.
if [ "$1" -ge 1 ]; then
    systemctl try-restart tallyd.service >/dev/null 2>&1 || :
fi
