#!/bin/sh
# Makes or extends a signed repository of packages, for apt and for dnf. Usage: repository.sh OUT PACKAGES
#
# PACKAGES is a folder with deb and rpm files, which are added to what OUT has. PICKET_SIGNING_KEY names the key that signs, as gpg
# knows it (GNUPGHOME). PICKET_VALID_DAYS, if set, is how long apt believes the index before it must have been signed again.
#
#   OUT/apt      pool/, dists/stable: Release, Release.gpg, InRelease
#   OUT/rpm      the packages, each signed; repodata/repomd.xml and repomd.xml.asc
#   OUT/picket-archive-keyring.gpg, .asc   the public key, for apt and for rpm
#   OUT/SHA256SUMS, SHA256SUMS.asc         of every package
#
# - No version is ever replaced: a package that is there already must be the same, byte for byte.
# - Older versions stay, so that apt can go back to one.
set -eu

out=${1:?an output folder}
packages=${2:?a folder with packages}
key=${PICKET_SIGNING_KEY:?the key that signs, as gpg knows it}
export LC_ALL=C

sign() {
    gpg --batch --yes --quiet --local-user "$key" --digest-algo SHA512 "$@"
}

# add FILE FOLDER: a package, once
add() {
    there=$2/$(basename "$1")
    if [ ! -e "$there" ]; then
        cp "$1" "$2"
    elif ! cmp -s "$1" "$there"; then
        echo "$there is there already and differs: give the new one another release" >&2
        exit 1
    fi
}

index_apt() {
    suite=dists/stable
    binary=$suite/main/binary-amd64
    mkdir -p $binary
    apt-ftparchive packages pool >$binary/Packages
    xz --keep --force $binary/Packages
    gzip -9 --no-name --keep --force $binary/Packages
    apt-ftparchive -o APT::FTPArchive::Release::Origin=Picket -o APT::FTPArchive::Release::Label=Picket \
        -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable \
        -o APT::FTPArchive::Release::Architectures=amd64 -o APT::FTPArchive::Release::Components=main \
        ${PICKET_VALID_DAYS:+-o APT::FTPArchive::Release::ValidTime=$((PICKET_VALID_DAYS * 86400))} \
        release $suite >Release.new
    mv Release.new $suite/Release
    sign --clearsign --output $suite/InRelease $suite/Release
    sign --armor --detach-sign --output $suite/Release.gpg $suite/Release
}

# Signing changes an rpm, so what was signed before stays as it is, and what it was made from is remembered.
add_rpm() {
    name=$(basename "$1")
    digest=$(sha256sum <"$1" | cut -d ' ' -f 1)
    if [ ! -e "rpm/$name" ]; then
        cp "$1" rpm.part
        rpmsign --define "_gpg_name $key" --define "__gpg $(command -v gpg)" --define '_gpg_digest_algo sha512' --addsign rpm.part >rpm.log 2>&1 || {
            cat rpm.log >&2
            exit 1
        }
        rm rpm.log
        echo "$digest  $name" >>rpm/unsigned.sha256
        mv rpm.part "rpm/$name"
    elif ! grep -qx "$digest  $name" rpm/unsigned.sha256; then
        echo "rpm/$name is there already and differs: give the new one another release" >&2
        exit 1
    fi
}

packages=$(cd "$packages" && pwd)
mkdir -p "$out/apt/pool" "$out/rpm"
cd "$out"
for deb in "$packages"/*.deb; do
    add "$deb" apt/pool
done
for rpm in "$packages"/*.rpm; do
    add_rpm "$rpm"
done
gpg --batch --export "$key" >picket-archive-keyring.gpg
gpg --batch --armor --export "$key" >picket-archive-keyring.asc
(cd apt && index_apt)
createrepo_c --quiet --update rpm
sign --armor --detach-sign --output rpm/repodata/repomd.xml.asc rpm/repodata/repomd.xml
sha256sum apt/pool/*.deb rpm/*.rpm >SHA256SUMS
sign --armor --detach-sign --output SHA256SUMS.asc SHA256SUMS
