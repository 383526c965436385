# A database server: PostgreSQL with clients over the network, dumps at night, a copy of them elsewhere, an administrator who uses psql.

upgraded() { echo postgresql-client-common; }

query() { # SQL
    PGPASSWORD=shop timeout 60 psql -q -h "$HOME_NET.2" -U shop shop -c "$1" >/dev/null 2>&1
}

prepare() {
    echo "host shop shop $HOME_NET.0/24 scram-sha-256" >>/etc/postgresql/15/main/pg_hba.conf
    echo "listen_addresses = '*'" >>/etc/postgresql/15/main/postgresql.conf
    systemctl start postgresql@15-main
    su postgres -c "psql -qc \"create role shop login password 'shop'\" -c 'create database shop owner shop'" >/dev/null
    query 'create table orders (id serial primary key, what text, cents int, at timestamptz default now())'
    job dump-shop '*-*-* 00:00:00' postgres <<'S'
#!/bin/sh
set -e
to=/var/lib/postgresql/dumps
mkdir -p "$to"
pg_dump --format=custom shop >"$to/shop-$(date +%F).dump"
psql -Atc 'select count(*) from orders' shop >"$to/rows"
find "$to" -name '*.dump' -mtime +5 -delete
S
    job copy-dumps '*-*-* 00:00:05' root <<'S'
#!/bin/sh
mkdir -p /srv/copies
rsync -a --delete /var/lib/postgresql/dumps/ /srv/copies/
cd /srv/copies && sha256sum *.dump >SHA256SUMS
S
    job vacuum-shop 'Sun,Wed *-*-* 00:00:02' postgres <<'S'
#!/bin/sh
vacuumdb --analyze --quiet shop
S
    echo '* * * * * postgres pg_isready -q || logger -p daemon.err "no database"' >/etc/cron.d/database
}

night() { :; }

work() {
    local n
    for n in 1 2 3 4 5 6; do
        query "insert into orders (what, cents) select 'item-' || g, (random() * 10000)::int from generate_series(1, 40) g"
        query "select what, sum(cents) from orders group by what order by 2 desc limit 5"
    done
    query "delete from orders where id % 17 = 3"
    # An extract that the shop fetches.
    timeout 60 rsync -a -e "ssh -q -b $HOME_NET.13 -i /root/keys/deploy -o StrictHostKeyChecking=no" "deploy@$HOME_NET.2:/srv/copies/SHA256SUMS" /root/ >/dev/null 2>&1
}

visit() {
    case $1 in
    2) printf '%s\n' "sudo -u postgres psql -c 'create index on orders (what)' shop" "sudo -u postgres psql -c 'select pg_size_pretty(pg_database_size(current_database()))' shop" | visit_as maria 12 ;;
    4) printf '%s\n' 'sudo sed -i "s/^#*work_mem.*/work_mem = 8MB/" /etc/postgresql/15/main/postgresql.conf' 'sudo systemctl reload postgresql@15-main' "sudo -u postgres psql -c 'show work_mem'" | visit_as maria 12 ;;
    6) printf '%s\n' 'sudo -u postgres createdb trial' 'sudo -u postgres sh -c "pg_restore -d trial /var/lib/postgresql/dumps/shop-*.dump" 2>/dev/null' 'sudo -u postgres dropdb trial' | visit_as maria 12 ;;
    *) printf '%s\n' 'pg_lsclusters' 'sudo tail -n 5 /var/log/postgresql/postgresql-15-main.log' "sudo -u postgres psql -c 'select count(*) from pg_stat_activity'" | visit_as maria 12 ;;
    esac
}

week </dev/null
