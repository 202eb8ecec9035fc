/* main.c - stintd's command line. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stint.h"
#include "agent.h"
#include "database/errand.h"
#include "log.h"

/* A name server that comes back is asked again within one second, not within five. */
#define RESOLVER_OPTIONS "timeout:1 attempts:2"

#define CONFIG_PATH "/etc/stint/stint.conf"

/* A wrong configuration also ends with EXIT_USAGE: the unit doesn't restart after it (RestartPreventExitStatus=),
 * since trying again mends neither wrong use nor a wrong configuration. */
enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static void print_help(void) {
	size_t count;
	const struct config_key *keys = config_keys(&count);
	printf("Usage: stintd [-c FILE] [--check]\n"
	       "The agent of this host: keeps the table of credits that apps decide in, filled from PostgreSQL.\n\n"
	       "  -c, --config FILE  configuration (default " CONFIG_PATH ")\n"
	       "      --check        check the configuration, print what is in force, and exit\n"
	       "  -h, --help         this text\n"
	       "  -V, --version      the version\n\n"
	       "The file has one section, [stint]. Every key can also come from the environment as STINT_<KEY>.\n\n");
	for (size_t i = 0; i < count; i++) {
		printf("  %-20s %s", keys[i].name, keys[i].help);
		if (!keys[i].standard)
			printf(" (required)");
		else if (keys[i].standard[0])
			printf(" (default %s)", keys[i].standard);
		if (!keys[i].size)
			printf(" [%lld to %lld]", (long long)keys[i].least, (long long)keys[i].most);
		printf("\n");
	}
	printf("\nSignals: SIGHUP reads the configuration again, SIGTERM returns unused leases and stops.\n");
}

/* The database's connection string may hold a password, so it isn't shown. */
static void print_key(const struct config *config, const struct config_key *key) {
	const char *field = (const char *)config + key->offset;
	if (field == config->database && !config_is_memory(config))
		field = "(a connection string)";
	if (key->size) {
		printf("%s = %s\n", key->name, field);
		return;
	}
	int64_t number;
	memcpy(&number, field, sizeof(number));
	printf("%s = %lld\n", key->name, (long long)number);
}

static void print_config(const struct config *config) {
	size_t count;
	const struct config_key *keys = config_keys(&count);
	for (size_t i = 0; i < count; i++)
		print_key(config, &keys[i]);
}

static int run(const struct config *config, const char *path) {
	static struct agent agent; /* large */
	char error[AGENT_ERROR_MAX];
	int result = EXIT_FAILED;
	signal(SIGPIPE, SIG_IGN);
	setenv("RES_OPTIONS", RESOLVER_OPTIONS, 0);
	log_set_level((enum log_level)config_log_level(config));
	if (agent_start(&agent, config, path, error) != 0)
		log_error("%s", error);
	else
		result = agent_run(&agent) == 0 ? EXIT_OK : EXIT_FAILED;
	agent_stop(&agent);
	return result;
}

static int load(struct config *config, const char *path) {
	char error[CONFIG_ERROR_MAX];
	if (config_load(config, path, error) != 0) {
		log_error("%s", error);
		return EXIT_USAGE;
	}
	if (config_is_exposed(config, path))
		log_warning(
			"%s holds a password and is open to everybody: chmod o-rw, or keep the password in a file of its own",
			path);
	return EXIT_OK;
}

int main(int argc, char **argv) {
	enum { OPTION_CHECK = 1000 };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, OPTION_CHECK},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	const char *path = CONFIG_PATH;
	bool check_only = false;
	struct config config;
	for (int option; (option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1;) {
		switch (option) {
		case 'c': path = optarg; break;
		case OPTION_CHECK: check_only = true; break;
		case 'h': print_help(); return EXIT_OK;
		case 'V': printf("stintd %s\n", STINT_VERSION); return EXIT_OK;
		default: fprintf(stderr, "Try stintd --help.\n"); return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		log_error("unexpected argument \"%s\"; try stintd --help", argv[optind]);
		return EXIT_USAGE;
	}
	int result = load(&config, path);
	if (result != EXIT_OK)
		return result;
	if (check_only) {
		print_config(&config);
		return EXIT_OK;
	}
	result = run(&config, path);
	if (errand_is_any())
		_exit(result);
	return result;
}
