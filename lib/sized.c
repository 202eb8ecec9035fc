/*
 * sized.c - copies structs between versions of stint.h.
 */
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "sized.h"

/* Where the first structs ended that told their sizes: with their last fields then. These never change. */
#define OPTIONS_SIZE_MIN (offsetof(struct stint_options, on_error) + sizeof(enum stint_on_error))
#define RESULT_SIZE_MIN  (offsetof(struct stint_result, ticket) + sizeof(uint64_t))

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

int sized_options(struct stint_options *own, const struct stint_options *theirs, size_t size) {
	int error = check_size("stint_options", size, OPTIONS_SIZE_MIN, sizeof(*own));
	if (error)
		return error;
	if (size > sizeof(*own) && !is_zero((const unsigned char *)theirs + sizeof(*own), size - sizeof(*own)))
		return error_set(STINT_ERANGE, "an option is set that version %s doesn't know", STINT_VERSION);
	memset(own, 0, sizeof(*own));
	memcpy(own, theirs, size < sizeof(*own) ? size : sizeof(*own));
	return 0;
}

int sized_check_result(size_t size) {
	return check_size("stint_result", size, RESULT_SIZE_MIN, sizeof(struct stint_result));
}

void sized_copy_result(struct stint_result *theirs, size_t size, const struct stint_result *own) {
	memset(theirs, 0, size);
	memcpy(theirs, own, size < sizeof(*own) ? size : sizeof(*own));
}
