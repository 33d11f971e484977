# Creates the permanent user, permits the receive buffer, and lets the distribution's presets decide about the service.
systemd-sysusers tallyd.conf || :
/usr/lib/systemd/systemd-sysctl /usr/lib/sysctl.d/50-tallyd.conf || :
systemctl daemon-reload >/dev/null 2>&1 || :
if [ "$1" = 1 ]; then
    systemctl preset tallyd.socket tallyd.service >/dev/null 2>&1 || :
fi
