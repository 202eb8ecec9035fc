/*
 * fields.h - members of JSON objects that agents and databases of other versions may leave out.
 */
#ifndef STINT_FIELDS_H
#define STINT_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* "" where there is none. Lives as long as the object. */
static inline const char *fields_text(const json_t *object, const char *key) {
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* 0 where there is none. */
static inline int64_t fields_number(const json_t *object, const char *key) {
	return json_integer_value(json_object_get(object, key));
}

static inline bool fields_is_set(const json_t *object, const char *key) {
	return json_is_true(json_object_get(object, key));
}

#endif
