# 0 means that no version stays.
if [ "$1" = 0 ]; then
    systemctl --quiet disable --now tallyd.socket tallyd.service >/dev/null 2>&1 || :
fi
