# Where Debian is, as this machine's own apt knows it. Read by others, not run.

# site PATTERN: where this machine's apt finds the release of that name
site() {
    apt-get indextargets --format '$(RELEASE) $(SITE) $(TARGET_OF) $(COMPONENT)' 'Created-By: Packages' |
        awk -v want="$1" '$1 ~ want && $3 == "deb" && $4 == "main" { print $2; exit }'
}

# The release that this machine runs.
codename() {
    (. /etc/os-release && echo "${VERSION_CODENAME:-}")
}
