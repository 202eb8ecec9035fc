/*
 * fuzz.h - what the fuzzers share: decisions are read from the input's bytes, and what may never be ends the
 * process with a sentence, which libFuzzer takes for a crash and keeps the input of.
 *
 * When the input is used up all that is read is 0, so each input is a whole play, and a shorter one a simpler
 * play.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_must(condition, ...)                                                                                 \
	do {                                                                                                          \
		if (!(condition)) {                                                                                       \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                       \
			fprintf(stderr, __VA_ARGS__);                                                                         \
			fputc('\n', stderr);                                                                                  \
			abort();                                                                                              \
		}                                                                                                         \
	} while (0)

/* Makes a folder of the process's own in $TMPDIR; its name is short enough for a socket in it. */
static inline void fuzz_make_dir(char dir[static 64]) {
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, 64, "%.44s/stint-fuzz.XXXXXX", tmp ? tmp : "/tmp");
	fuzz_must(mkdtemp(dir) != NULL, "no folder");
}

struct fuzz {
	const uint8_t *at;
	size_t left;
};

static inline size_t fuzz_read(struct fuzz *in, void *bytes, size_t size) {
	size_t got = size < in->left ? size : in->left;
	memset(bytes, 0, size);
	if (got > 0)
		memcpy(bytes, in->at, got);
	in->at += got;
	in->left -= got;
	return got;
}

static inline uint8_t fuzz_u8(struct fuzz *in) {
	uint8_t value;
	fuzz_read(in, &value, sizeof(value));
	return value;
}

static inline uint16_t fuzz_u16(struct fuzz *in) {
	uint16_t value;
	fuzz_read(in, &value, sizeof(value));
	return value;
}

static inline uint32_t fuzz_u32(struct fuzz *in) {
	uint32_t value;
	fuzz_read(in, &value, sizeof(value));
	return value;
}

static inline uint64_t fuzz_u64(struct fuzz *in) {
	uint64_t value;
	fuzz_read(in, &value, sizeof(value));
	return value;
}

/* 0 ... n - 1, from one byte. */
static inline uint32_t fuzz_below(struct fuzz *in, uint32_t n) {
	return fuzz_u8(in) % n;
}

/* Gives mostly what programs stumble over: 0, 1, the edges of the types; else 8 bytes as they come. */
static inline uint64_t fuzz_odd_number(struct fuzz *in) {
	static const uint64_t odd[] = {
		0,          1,          2,          0x7f,       0xff,      0x7fff,
		0xffff,     0x7fffffff, 0x80000000, 0xffffffff, INT64_MAX, UINT64_C(1) << 63,
		UINT64_MAX,
	};
	uint32_t choice = fuzz_below(in, 16);
	return choice < sizeof(odd) / sizeof(odd[0]) ? odd[choice] : fuzz_u64(in);
}

#endif
