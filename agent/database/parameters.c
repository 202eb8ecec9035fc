/* parameters.c - see parameters.h. */
#include "parameters.h"

#include <stdio.h>

void parameters_add_text(struct parameters *p, const char *text) {
	p->pg.values[p->pg.count++] = text;
}

void parameters_add_number(struct parameters *p, int64_t number) {
	char *text = p->numbers[p->pg.count];
	snprintf(text, sizeof(p->numbers[0]), "%lld", (long long)number);
	parameters_add_text(p, text);
}

void parameters_add_array(struct parameters *p, const struct pgarray *array, size_t offset) {
	int i = p->pg.count++;
	p->pg.values[i] = array->data + offset;
	p->pg.lengths[i] = (int)(array->length - offset);
	p->pg.formats[i] = 1;
}
