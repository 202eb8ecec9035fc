/*
 * modules.c - what nginx looks for in a file that it loads. Not a part of nginx's own build, which makes the like.
 */
#include <ngx_config.h>
#include <ngx_core.h>

#pragma GCC visibility push(default)

extern ngx_module_t ngx_http_stint_module;
extern ngx_module_t *ngx_modules[];
extern char *ngx_module_names[];
extern char *ngx_module_order[];

ngx_module_t *ngx_modules[] = {&ngx_http_stint_module, NULL};
char *ngx_module_names[] = {"ngx_http_stint_module", NULL};

/* Before the filter that copies bodies, as all header filters of others. */
char *ngx_module_order[] = {"ngx_http_stint_module", "ngx_http_copy_filter_module", NULL};

#pragma GCC visibility pop
