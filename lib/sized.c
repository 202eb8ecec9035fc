/*
 * sized.c - copies structs between versions of stint.h.
 */
#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "sized.h"

/* Where the first structs ended that told their sizes: with their last fields then. These never change. */
#define OPTIONS_SIZE_MIN (offsetof(struct stint_options, on_error) + sizeof(enum stint_on_error))
#define HTTP_SIZE_MIN    (offsetof(struct stint_http_options, x_ratelimit) + sizeof(bool))
#define RESULT_SIZE_MIN  (offsetof(struct stint_result, receipt) + sizeof(uint64_t))
#define PART_SIZE_MIN    (offsetof(struct stint_part, reserved) + sizeof(uint32_t))

static int check_size(const char *name, size_t size, size_t min, size_t known) {
	if (size >= min && size <= known + SIZED_LATER_MAX)
		return 0;
	return error_set(STINT_EVERSION, "a struct %s of %zu bytes, must be %zu to %zu", name, size, min,
	                 known + SIZED_LATER_MAX);
}

static bool is_zero(const unsigned char *bytes, size_t count) {
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

/* Takes what both know; what an earlier struct lacks becomes 0. */
static void take(void *own, size_t known, const void *theirs, size_t size) {
	memset(own, 0, known);
	memcpy(own, theirs, size < known ? size : known);
}

/* The size has been checked. */
static int check_unknown(const char *what, size_t known, const void *theirs, size_t size) {
	if (size > known && !is_zero((const unsigned char *)theirs + known, size - known))
		return error_set(STINT_ERANGE, "%s is set that version %s doesn't know", what, STINT_VERSION);
	return 0;
}

static int take_options(void *own, size_t known, const void *theirs, size_t size) {
	int error = check_unknown("an option", known, theirs, size);
	if (!error)
		take(own, known, theirs, size);
	return error;
}

int sized_options(struct stint_options *own, const struct stint_options *theirs, size_t size) {
	int error = check_size("stint_options", size, OPTIONS_SIZE_MIN, sizeof(*own));
	return error ? error : take_options(own, sizeof(*own), theirs, size);
}

int sized_http_options(struct stint_http_options *own, const struct stint_http_options *theirs, size_t size) {
	int error = check_size("stint_http_options", size, HTTP_SIZE_MIN, sizeof(*own));
	return error ? error : take_options(own, sizeof(*own), theirs, size);
}

int sized_check_result(size_t size) {
	return check_size("stint_result", size, RESULT_SIZE_MIN, sizeof(struct stint_result));
}

int sized_check_part(size_t size) {
	int error = check_size("stint_part", size, PART_SIZE_MIN, sizeof(struct stint_part));
	if (!error && size % alignof(struct stint_part) != 0)
		error = error_set(STINT_EVERSION, "a struct stint_part of %zu bytes, must be a multiple of %zu", size,
		                  alignof(struct stint_part));
	return error;
}

/* Parts aren't copied. Once they have grown, an earlier one must be, as options are. */
static_assert(sizeof(struct stint_part) == PART_SIZE_MIN, "no part is smaller than this library's");

int sized_check_unknown_of_part(const struct stint_part *theirs, size_t size) {
	return check_unknown("a field", sizeof(*theirs), theirs, size);
}

void sized_copy_result(struct stint_result *theirs, size_t size, const struct stint_result *own) {
	memset(theirs, 0, size);
	memcpy(theirs, own, size < sizeof(*own) ? size : sizeof(*own));
}

void sized_take_result(struct stint_result *own, const struct stint_result *theirs, size_t size) {
	take(own, sizeof(*own), theirs, size);
}
