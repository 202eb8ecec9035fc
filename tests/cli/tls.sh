# The way to the database with TLS: an agent that is told to verify the server does, and takes nothing less.
# shellcheck shell=bash disable=SC2154

free_port() {
	local port
	for port in $(shuf -i 20000-32000 -n 50); do
		(: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
}

# A certificate that signs itself: $tmp/NAME.crt, $tmp/NAME.key.
make_certificate() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$2" -addext "subjectAltName=DNS:$2" \
		-keyout "$tmp/$1.key" -out "$tmp/$1.crt" 2>/dev/null
}

# The server wants to own its key.
make_certificate server localhost
make_certificate other localhost
port=$(free_port)
mkdir -p "$tmp/tls"
"$pg_cluster" start "$tmp/tls" >/dev/null 2>&1 || { echo 'Bail out! no PostgreSQL'; exit 1; }
cleanups+=('"$pg_cluster" remove "$tmp/tls"')
cp "$tmp/server.key" "$tmp/server.crt" "$tmp/tls/pg/data/"
chown --reference="$tmp/tls/pg/data" "$tmp/tls/pg/data/"server.{key,crt}
chmod 600 "$tmp/tls/pg/data/server.key"
"$pg_cluster" stop "$tmp/tls"
admin=$("$pg_cluster" start "$tmp/tls" --port "$port" --set ssl=on 2>/dev/null)
"$stint" --database "$admin" db init >/dev/null

server="hostaddr=127.0.0.1 port=$port dbname=stint user=postgres sslmode=verify-full"
encrypted() { [[ $(psql -XAtq "$admin" -c "select count(*) from pg_stat_ssl s join pg_stat_activity a using (pid) where s.ssl and a.client_port > 0") -eq $1 ]]; }
reason_is() { "$stint" --socket "$1" status --json | grep -q "last_error.*$2"; }

start_agent right "host=localhost $server sslrootcert=$tmp/server.crt"
ok 'tls: with the right certificate the agent is in step' "$(wait_for 10 database_is "$tmp/right/sock" 'in step'; echo $?)" "$(cat "$tmp/right/log")"
ok 'tls: over an encrypted connection' "$(encrypted 1; echo $?)"
start_agent name "host=127.0.0.1 $server sslrootcert=$tmp/server.crt"
ok 'tls: a server with another name is refused' "$(wait_for 10 reason_is "$tmp/name/sock" 'does not match host name'; echo $?)" "$(cat "$tmp/name/log")"
start_agent issuer "host=localhost $server sslrootcert=$tmp/other.crt"
ok 'tls: a certificate of another issuer is refused' "$(wait_for 10 reason_is "$tmp/issuer/sock" 'certificate verify failed'; echo $?)" "$(cat "$tmp/issuer/log")"
ok 'tls: who refuses its server is on its own' "$(database_is "$tmp/issuer/sock" fallback; echo $?)"

# Who is on the way could answer that there is no TLS here.
"$pg_cluster" stop "$tmp/tls"
"$pg_cluster" start "$tmp/tls" --port "$port" --set ssl=off >/dev/null 2>&1
ok 'tls: a server without it is refused, also by who was connected before' \
	"$(wait_for 10 reason_is "$tmp/right/sock" 'does not support SSL'; echo $?)" "$(cat "$tmp/right/log")"
ok 'tls: and stays so' "$(sleep 1; database_is "$tmp/right/sock" fallback; echo $?)"
