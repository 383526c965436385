# A web server: nginx before a small application that keeps uploads and starts programs, deployments by rsync, a check of the certificate.

upgraded() { echo nginx-light; }

prepare() {
    mkdir -p /srv/shop/static /srv/shop/uploads /var/log/shop /etc/ssl/shop
    cat >/srv/shop/app.py <<'S'
import http.server, json, os, subprocess, time, urllib.parse

class Shop(http.server.BaseHTTPRequestHandler):
    def answer(self, body, code=200):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.urlparse(self.path).path
        if path == "/report":
            out = subprocess.run(["/usr/bin/du", "-s", "/srv/shop/uploads"], capture_output=True).stdout
            self.answer(out)
        elif path == "/export":
            out = subprocess.run("tar cf - -C /srv/shop uploads | gzip -1 | wc -c", shell=True, capture_output=True).stdout
            self.answer(out)
        elif path.startswith("/item"):
            self.answer(json.dumps({"item": path, "at": time.time()}).encode())
        else:
            self.answer(b"nothing here", 404)

    def do_POST(self):
        size = int(self.headers.get("content-length", 0))
        name = "/srv/shop/uploads/%d.png" % time.time_ns()
        with open(name, "wb") as file:
            file.write(self.rfile.read(size))
        kind = subprocess.run(["/usr/bin/file", "-b", name], capture_output=True).stdout
        if os.path.getsize(name) > 60000:
            os.unlink(name)
        self.answer(kind)

    def log_message(self, form, *values):
        with open("/var/log/shop/app.log", "a") as file:
            file.write(form % values + "\n")

http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Shop).serve_forever()
S
    printf '[Service]\nUser=www-data\nExecStart=/usr/bin/python3 /srv/shop/app.py\nRestart=always\n' >/etc/systemd/system/shop.service
    openssl req -x509 -newkey rsa:2048 -nodes -days 60 -subj /CN=shop -keyout /etc/ssl/shop/key.pem -out /etc/ssl/shop/cert.pem 2>/dev/null
    cat >/etc/nginx/sites-available/default <<'S'
server {
    listen 80;
    listen 443 ssl;
    ssl_certificate /etc/ssl/shop/cert.pem;
    ssl_certificate_key /etc/ssl/shop/key.pem;
    root /srv/shop/static;
    location /api/ { proxy_pass http://127.0.0.1:8080/; }
}
S
    echo '<h1>shop</h1>' >/srv/shop/static/index.html
    printf '/var/log/shop/*.log {\n daily\n rotate 3\n compress\n copytruncate\n}\n' >/etc/logrotate.d/shop
    chown -R www-data: /srv/shop/uploads /var/log/shop
    chown -R deploy: /srv/shop/static
    job check-certificate '*-*-* 00,12:00:00' root <<'S'
#!/bin/sh
openssl x509 -checkend 604800 -noout -in /etc/ssl/shop/cert.pem || logger "certificate ends soon"
S
    job backup-shop '*-*-* 00:00:00' root <<'S'
#!/bin/sh
set -e
mkdir -p /var/backups/shop
tar czf "/var/backups/shop/$(date +%F).tgz" -C /srv shop
find /var/backups/shop -name '*.tgz' -mtime +5 -delete
sha256sum /var/backups/shop/*.tgz >/var/backups/shop/SHA256SUMS
S
    echo '* * * * * www-data awk "{ print \$9 }" /var/log/nginx/access.log 2>/dev/null | sort | uniq -c | sort -rn | head -n 3 >/var/log/shop/codes.txt' >/etc/cron.d/shop
    systemctl daemon-reload
    systemctl start nginx shop
    mkdir -p /root/site && echo '<h1>shop</h1>' >/root/site/index.html
}

night() { :; }

visitor() { # ADDRESS PATH...
    local address=$1 path
    shift
    for path in "$@"; do
        curl -ksS -m 20 --interface "$HOME_NET.$address" "http://$HOME_NET.2$path" >/dev/null 2>&1
    done
}

work() {
    local n
    for n in 40 41 42; do
        visitor "$n" / /index.html "/api/item/$RANDOM" "/api/item/$RANDOM" /nothing /api/report
        head -c $((RANDOM * 3)) /dev/urandom | curl -ksS -m 20 --interface "$HOME_NET.$n" --data-binary @- "http://$HOME_NET.2/api/up" >/dev/null
    done
    visitor 41 /api/export
    # Somebody on the network tries doors.
    visitor 77 /wp-login.php /.env /admin '/api/../../etc/passwd'
    # A deployment.
    echo "<p>$RANDOM</p>" >>/root/site/index.html
    timeout 60 rsync -a -e "ssh -q -b $HOME_NET.13 -i /root/keys/deploy -o StrictHostKeyChecking=no" /root/site/ "deploy@$HOME_NET.2:/srv/shop/static/" >/dev/null 2>&1
}

visit() {
    case $1 in
    2) printf '%s\n' 'sudo nano --version | head -n 1' 'sudo sed -i "s/listen 80;/listen 80 default_server;/" /etc/nginx/sites-available/default' 'sudo nginx -t && sudo systemctl reload nginx' | visit_as maria 12 ;;
    4) printf '%s\n' 'curl -s localhost/api/report' 'sudo tail -n 3 /var/log/nginx/access.log' 'sudo systemctl restart shop' | visit_as maria 12 ;;
    6) printf '%s\n' 'sudo openssl x509 -noout -dates -in /etc/ssl/shop/cert.pem' 'sudo openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=shop -keyout /etc/ssl/shop/key.pem -out /etc/ssl/shop/cert.pem' 'sudo systemctl reload nginx' | visit_as maria 12 ;;
    *) printf '%s\n' 'sudo tail -n 5 /var/log/nginx/error.log' 'systemctl status nginx --no-pager | head -n 4' | visit_as maria 12 ;;
    esac
}

week </dev/null
