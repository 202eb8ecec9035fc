/* config.c - reads the file and the environment, checks each key against the one list of keys; see config.h. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stint.h"
#include "log.h"
#include "metrics_address.h"
#include "database/pg.h"
#include "database/pgarray.h"

#define TEXT(field)   offsetof(struct config, field), sizeof(((struct config *)0)->field)
#define NUMBER(field) offsetof(struct config, field), 0

static const struct config_key keys[] = {
	{"socket", TEXT(socket), 0, 0, STINT_DEFAULT_SOCKET, "Unix socket on which apps attach"},
	{"shm", TEXT(shm), 0, 0, "/stint", "name of the shared-memory objects, with a slash in front; one per agent"},
	{"database", TEXT(database), 0, 0, NULL,
     "libpq connection string or URI; or memory: for one host without a database"},
	{"host", TEXT(host), 0, 0, "", "this host's name in the database; default: the machine's"},
	/* 64 million clients are 5 GiB of table; more on one host is a mistake in the file. */
	{"max_clients", NUMBER(max_clients), 16, 64000000, "262144",
     "clients the table has room for; about 80 bytes each, taken at start"},
	{"database_timeout_ms", NUMBER(database_timeout_ms), 10, 60000, "500",
     "the longest the database may take to answer before fallback"},
	{"synchronous_commit", TEXT(synchronous_commit), 0, 0, "on",
     "on: what is granted outlives a crash of the server; keep: as the database has it set"},
	{"pooler", TEXT(pooler), 0, 0, "none",
     "transaction: the database is behind a pooler in that mode; none: behind none, or one in session mode"},
	{"idle_timeout_s", NUMBER(idle_timeout_s), 1, 86400, "300", "a client unused for so long leaves the table"},
	{"metrics_listen", TEXT(metrics_listen), 0, 0, "",
     "where Prometheus asks for metrics: a path, or 127.0.0.1:PORT or [::1]:PORT; default: nowhere"},
	{"log_level", TEXT(log_level), 0, 0, "info", "error, warning, info or debug"},
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

const struct config_key *config_keys(size_t *count) {
	*count = KEY_COUNT;
	return keys;
}

static const struct config_key *find_key(const char *name) {
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static int set_number(struct config *config, const struct config_key *key, const char *value, char *error) {
	char *end;
	errno = 0;
	long long number = strtoll(value, &end, 10);
	if (end == value || *end || errno || number < key->least || number > key->most) {
		snprintf(error, CONFIG_ERROR_MAX, "%s is \"%.100s\", must be a number from %lld to %lld", key->name, value,
		         (long long)key->least, (long long)key->most);
		return -1;
	}
	int64_t stored = number;
	memcpy((char *)config + key->offset, &stored, sizeof(stored));
	return 0;
}

static int set_text(struct config *config, const struct config_key *key, const char *value, char *error) {
	if (strlen(value) >= key->size) { /* the value isn't quoted: a connection string may hold a password */
		snprintf(error, CONFIG_ERROR_MAX, "%s has %zu bytes, at most %zu fit", key->name, strlen(value),
		         key->size - 1);
		return -1;
	}
	strcpy((char *)config + key->offset, value);
	return 0;
}

static int set_key(struct config *config, const struct config_key *key, const char *value, char *error) {
	return key->size ? set_text(config, key, value, error) : set_number(config, key, value, error);
}

struct reading {
	struct config *config;
	char *error;
};

static int on_entry(void *user, const char *section, const char *name, const char *value) {
	struct reading *reading = user;
	const struct config_key *key = find_key(name);
	if (strcmp(section, "stint") != 0)
		snprintf(reading->error, CONFIG_ERROR_MAX, "unknown section [%.64s], only [stint] is known", section);
	else if (!key)
		snprintf(reading->error, CONFIG_ERROR_MAX, "unknown key \"%.64s\" (stintd --help lists the keys)", name);
	else
		set_key(reading->config, key, value, reading->error);
	return reading->error[0] == 0;
}

struct source {
	FILE *file;
	int line;
	int bad_line; /* 0: none so far */
	const char *reason;
};

/* Reads a line for inih, and refuses two kinds of lines. inih cuts a line that is too long, and takes an indented
 * line for more of the value before it: both would silently change what was meant. */
static char *read_line(char *line, int size, void *stream) {
	struct source *source = stream;
	if (source->bad_line || !fgets(line, size, source->file))
		return NULL;
	source->line++;
	if (!strchr(line, '\n') && !feof(source->file))
		source->reason =
			"a line is longer than 198 bytes; a long connection string goes into STINT_DATABASE or a service file";
	else if (isblank((unsigned char)line[0]) && line[strspn(line, " \t\r\n")] != 0)
		source->reason = "a line begins with a blank";
	else
		return line;
	source->bad_line = source->line;
	return NULL;
}

static int load_file(struct config *config, const char *path, char *error) {
	struct reading reading = {config, error};
	struct source source = {.file = fopen(path, "re")};
	char reason[CONFIG_ERROR_MAX];
	if (!source.file) {
		snprintf(error, CONFIG_ERROR_MAX, "%.300s: %s", path, strerror(errno));
		return -1;
	}
	int line = ini_parse_stream(read_line, &source, on_entry, &reading);
	const char *mistake = line > 0 ? "neither \"key = value\" nor [stint]" : source.reason;
	bool failed = ferror(source.file);
	fclose(source.file);
	if (line == 0 && !source.bad_line && !failed)
		return 0;
	snprintf(reason, sizeof(reason), "%.380s", failed ? "cannot be read" : error[0] ? error : mistake);
	snprintf(error, CONFIG_ERROR_MAX, "%.100s:%d: %.380s", path, line > 0 ? line : source.line, reason);
	return -1;
}

static int load_environment(struct config *config, char *error) {
	for (size_t i = 0; i < KEY_COUNT; i++) {
		char name[64] = "STINT_";
		for (size_t n = strlen(name), k = 0; keys[i].name[k]; n++, k++)
			name[n] = (char)toupper((unsigned char)keys[i].name[k]);
		const char *value = getenv(name);
		char reason[CONFIG_ERROR_MAX] = "";
		if (value && set_key(config, &keys[i], value, reason) != 0) {
			snprintf(error, CONFIG_ERROR_MAX, "%s: %.440s", name, reason);
			return -1;
		}
	}
	return 0;
}

static int complain(char *error, const char *format, const char *value) {
	snprintf(error, CONFIG_ERROR_MAX, format, value);
	return -1;
}

int config_log_level(const struct config *config) {
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{"error", LOG_LEVEL_ERROR},
		{"warning", LOG_LEVEL_WARNING},
		{"info", LOG_LEVEL_INFO},
		{"debug", LOG_LEVEL_DEBUG},
	};
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(config->log_level, levels[i].name) == 0)
			return (int)levels[i].level;
	return -1;
}

/* Refuses "memory:" with anything around it, which libpq would take for a database's name. */
static int check_database(const struct config *config, char *error) {
	char reason[CONFIG_ERROR_MAX / 2];
	if (config_is_memory(config))
		return 0;
	if (strncasecmp(config->database, "memory", strlen("memory")) == 0)
		return complain(error, "database is \"%.200s\"; it is \"memory:\", exactly, or a libpq connection string",
		                config->database);
	if (pg_check_conninfo(config->database, reason, sizeof(reason)) == 0)
		return 0;
	return complain(error, "database is no connection string that libpq takes: %s", reason);
}

static int check_metrics(const struct config *config, char *error) {
	struct metrics_address ignored;
	if (!metrics_address_parse(&ignored, config->metrics_listen))
		return complain(
			error,
			"metrics_listen is \"%.120s\", must be an absolute path of at most 107 bytes, or a loopback address"
			" and a port: 127.0.0.1:PORT or [::1]:PORT, PORT 1 to 65535",
			config->metrics_listen);
	if (strcmp(config->metrics_listen, config->socket) == 0)
		return complain(error, "metrics_listen is \"%.120s\", must be another path than socket",
		                config->metrics_listen);
	return 0;
}

static int check(const struct config *config, char *error) {
	if (config->socket[0] != '/')
		return complain(error, "socket is \"%.200s\", must be an absolute path", config->socket);
	if (config->shm[0] != '/' || !config->shm[1] || strchr(config->shm + 1, '/'))
		return complain(error, "shm is \"%.200s\", must be a slash and a name without another slash", config->shm);
	if (strpbrk(config->host, " \t\"'#;"))
		return complain(error, "host is \"%.200s\", must be a name without blanks, quotes, # and ;", config->host);
	if (!pgarray_is_text(config->host, strlen(config->host)))
		return complain(error, "host is not UTF-8, which the database needs%s", "");
	if (!config->database[0])
		return complain(
			error, "database is not set: a libpq connection string, or memory: for one host without a database%s",
			"");
	if (check_database(config, error) != 0)
		return -1;
	if (strcmp(config->synchronous_commit, "on") != 0 && !config_keeps_commit(config))
		return complain(error, "synchronous_commit is \"%.64s\", must be on or keep", config->synchronous_commit);
	if (strcmp(config->pooler, "none") != 0 && !config_is_pooled(config))
		return complain(error,
		                "pooler is \"%.64s\", must be none or transaction (session mode needs no word: none)",
		                config->pooler);
	if (config->metrics_listen[0] && check_metrics(config, error) != 0)
		return -1;
	if (config_log_level(config) < 0)
		return complain(error, "log_level is \"%.64s\", must be error, warning, info or debug", config->log_level);
	return 0;
}

int config_load(struct config *config, const char *path, char error[static CONFIG_ERROR_MAX]) {
	*config = (struct config){0};
	error[0] = 0;
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (keys[i].standard)
			set_key(config, &keys[i], keys[i].standard, error);
	if (path && load_file(config, path, error) != 0)
		return -1;
	if (load_environment(config, error) != 0)
		return -1;
	if (!config->host[0] && gethostname(config->host, sizeof(config->host) - 1) != 0)
		return complain(error, "the machine has no host name: set host%s", "");
	return check(config, error);
}

/* Looks at the mode after the file was read: whoever could read the file in between could read it before. */
bool config_is_exposed(const struct config *config, const char *path) {
	struct stat st;
	return path && !getenv("STINT_DATABASE") && pg_has_password(config->database) && stat(path, &st) == 0 &&
	       (st.st_mode & (S_IROTH | S_IWOTH));
}

bool config_keeps_commit(const struct config *config) {
	return strcmp(config->synchronous_commit, "keep") == 0;
}

bool config_is_pooled(const struct config *config) {
	return strcmp(config->pooler, "transaction") == 0;
}

bool config_is_memory(const struct config *config) {
	return strcmp(config->database, "memory:") == 0;
}
