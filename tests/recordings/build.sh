# A build host: a repository, a hook that builds what is pushed, a build every night, people who compile by hand.

upgraded() { echo make; }

prepare() {
    person ci
    mkdir -p /srv/git /srv/artifacts
    git config --global user.name alex
    git config --global user.email alex@host
    git config --global --add safe.directory '*'
    git init -q --bare -b main /srv/git/tool.git
    cat >/usr/local/bin/build-tool <<'S'
#!/bin/bash
# Builds, tests and packs the newest commit.
set -e
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q /srv/git/tool.git "$work/tool"
cd "$work/tool"
make -s -j2 all
make -s test
version=$(git rev-parse --short HEAD)
strip tool
tar czf "/srv/artifacts/tool-$version.tgz" tool README
(cd /srv/artifacts && sha256sum "tool-$version.tgz" >"tool-$version.sha256")
ls -t /srv/artifacts/*.tgz | tail -n +6 | xargs -r rm -f
S
    chmod 755 /usr/local/bin/build-tool
    printf '#!/bin/sh\nunset GIT_DIR\n/usr/local/bin/build-tool\n' >/srv/git/tool.git/hooks/post-receive
    chmod 755 /srv/git/tool.git/hooks/post-receive
    chown -R ci: /srv/git /srv/artifacts
    job build-nightly '*-*-* 00:00:00' ci <<'S'
#!/bin/sh
git config --global --add safe.directory '*'
exec /usr/local/bin/build-tool
S
    mkdir /root/tool && cd /root/tool || return
    git init -q -b main
    for n in 1 2 3 4; do
        printf 'int part%d(int x)\n{\n    return x * %d + 1;\n}\n' "$n" "$n" >"part$n.c"
    done
    cat >main.c <<'S'
#include <stdio.h>
int part1(int), part2(int), part3(int), part4(int);
int main(void) { printf("%d\n", part1(1) + part2(2) + part3(3) + part4(4)); return 0; }
S
    cat >Makefile <<'S'
objects = main.o part1.o part2.o part3.o part4.o
all: tool
tool: $(objects)
	$(CC) -o $@ $(objects)
test: tool
	python3 check.py ./tool
clean:
	rm -f tool $(objects)
S
    printf 'import subprocess, sys\nassert subprocess.run([sys.argv[1]], capture_output=True).stdout.strip().isdigit()\n' >check.py
    echo 'A tool.' >README
    git add . && git commit -q -m 'The tool'
    git remote add origin "ci@$HOME_NET.2:/srv/git/tool.git"
    push
}

push() {
    GIT_SSH_COMMAND="ssh -q -b $HOME_NET.13 -i /root/keys/ci -o StrictHostKeyChecking=no" timeout 180 git push -q origin main >/dev/null 2>&1
}

night() { sleep 15; }

work() {
    cd /root/tool || return
    sed -i "s/+ .*;/+ $RANDOM;/" "part$((RANDOM % 4 + 1)).c"
    git commit -qam "Change $RANDOM" && push
}

visit() {
    case $1 in
    0) printf '%s\n' 'git config --global --add safe.directory "*"' 'git clone -q /srv/git/tool.git ~/tool' 'cd ~/tool && make' './tool' | visit_as maria 12 ;;
    4) printf '%s\n' 'cd ~/tool && git pull -q; make clean all CFLAGS=-O2' 'gdb -batch -ex "info functions part" ./tool | head -n 4' 'nm tool | head -n 3' | visit_as maria 12 ;;
    6) printf '%s\n' 'cd ~/tool && git log --oneline | head -n 3' 'python3 -m venv --without-pip ~/env && ~/env/bin/python -c "print(1)"' 'gcc -O3 -o /tmp/try main.c part*.c && /tmp/try; rm -f /tmp/try' | visit_as maria 12 ;;
    *) printf '%s\n' 'cd ~/tool && git pull -q' 'sed -i "s/int x/int  x/" part1.c; make -j2 && ./tool; git checkout -q .' 'git status --short | head -n 3' 'ls -l /srv/artifacts | tail -n 2' | visit_as maria 12 ;;
    esac
}

week </dev/null
