/*
 * doctor.c - writes down what `stint doctor` finds, see doctor.h.
 */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const state_names[] = {"ok", "warning", "error"};

void doctor_find(struct doctor *doctor, enum doctor_state state, const char *what, const char *remedy,
                 const char *format, ...) {
	char *text = NULL;
	va_list arguments;
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	json_t *finding = json_object();
	json_object_set_new(finding, "state", json_string(state_names[state]));
	json_object_set_new(finding, "what", json_string(what));
	json_object_set_new(finding, "found", json_string(text ? text : ""));
	json_object_set_new(finding, "remedy", state == DOCTOR_OK || !remedy ? json_null() : json_string(remedy));
	json_array_append_new(doctor->findings, finding);
	doctor->errors += state == DOCTOR_ERROR;
	free(text);
}
