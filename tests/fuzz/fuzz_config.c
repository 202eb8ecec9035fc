/*
 * fuzz_config.c - the configuration: a file of any bytes, and variables of any text. What is taken must be what
 * the agent can start with; what is refused has a sentence that says why.
 *
 * The input is the file up to a NUL, then key and value of one variable after another, each up to a NUL.
 */
#include <ctype.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"
#include "log.h"

static size_t length_of_piece(const struct fuzz *in) {
	const uint8_t *end = in->left ? memchr(in->at, 0, in->left) : NULL;
	return end ? (size_t)(end - in->at) : in->left;
}

/* Gives a terminated copy, which the caller frees. */
static char *next_piece(struct fuzz *in) {
	size_t length = length_of_piece(in);
	char *piece = calloc(1, length + 1);
	fuzz_must(piece != NULL, "no memory");
	fuzz_read(in, piece, length);
	fuzz_u8(in);
	return piece;
}

static void name_variable(char *name, size_t size, const char *key) {
	snprintf(name, size, "STINT_%s", key);
	for (char *c = name; *c; c++)
		*c = (char)toupper((unsigned char)*c);
}

/* Sets only keys that exist: others change nothing. */
static void set_variable(struct fuzz *in) {
	size_t count;
	const struct config_key *keys = config_keys(&count);
	char name[64], *value;
	name_variable(name, sizeof(name), keys[fuzz_u8(in) % count].name);
	value = next_piece(in);
	setenv(name, value, 1);
	free(value);
}

static void unset_variables(void) {
	size_t count;
	const struct config_key *keys = config_keys(&count);
	char name[64];
	for (size_t i = 0; i < count; i++) {
		name_variable(name, sizeof(name), keys[i].name);
		unsetenv(name);
	}
}

static void check_taken(const struct config *config) {
	size_t count;
	const struct config_key *keys = config_keys(&count);
	for (size_t i = 0; i < count; i++) {
		const char *field = (const char *)config + keys[i].offset;
		int64_t number;
		memcpy(&number, field, sizeof(number));
		if (keys[i].size)
			fuzz_must(memchr(field, 0, keys[i].size) != NULL, "%s has no end", keys[i].name);
		else
			fuzz_must(number >= keys[i].least && number <= keys[i].most, "%s = %lld", keys[i].name,
			          (long long)number);
	}
	fuzz_must(config->socket[0] == '/' && config->shm[0] == '/' && config->shm[1] && !strchr(config->shm + 1, '/'),
	          "paths");
	fuzz_must(config->database[0] && config->host[0], "nothing to connect to, or no name");
	fuzz_must(config_log_level(config) >= LOG_LEVEL_ERROR, "log_level");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct fuzz in = {data, size};
	struct config config;
	char error[CONFIG_ERROR_MAX], path[64];
	size_t length = length_of_piece(&in);
	int fd = memfd_create("stint.conf", MFD_CLOEXEC);
	fuzz_must(fd >= 0 && write(fd, in.at, length) == (ssize_t)length, "no file");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	free(next_piece(&in));
	for (int i = 0; i < 8 && in.left > 0; i++)
		set_variable(&in);
	memset(error, 'x', sizeof(error));
	if (config_load(&config, path, error) == 0)
		check_taken(&config);
	else
		fuzz_must(memchr(error, 0, sizeof(error)) != NULL && error[0], "no reason given");
	unset_variables();
	close(fd);
	return 0;
}
