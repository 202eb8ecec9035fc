/*
 * module.c - the module: its directives, and the life of its configuration.
 */
#include "module.h"

/* ---- Making and merging --------------------------------------------------------- */

static void *create_main(ngx_conf_t *cf) {
	struct ngx_stint_main *m = ngx_pcalloc(cf->pool, sizeof(*m));
	if (!m || ngx_array_init(&m->policies, cf->pool, 4, sizeof(struct ngx_stint_policy *)) != NGX_OK)
		return NULL;
	return m;
}

static void *create_location(ngx_conf_t *cf) {
	struct ngx_stint_location *l = ngx_pcalloc(cf->pool, sizeof(*l));
	if (!l)
		return NULL;
	l->rejected_code = NGX_CONF_UNSET_UINT;
	l->bad_key_code = NGX_CONF_UNSET_UINT;
	l->log_level = NGX_CONF_UNSET_UINT;
	l->ipv4_prefix = NGX_CONF_UNSET;
	l->ipv6_prefix = NGX_CONF_UNSET;
	return l;
}

static char *merge_location(ngx_conf_t *cf, void *parent, void *child) {
	struct ngx_stint_location *outer = parent, *l = child;
	(void)cf;
	if (!l->limits)
		l->limits = outer->limits;
	ngx_conf_merge_uint_value(l->rejected_code, outer->rejected_code, NGX_STINT_REJECTED_CODE);
	ngx_conf_merge_uint_value(l->bad_key_code, outer->bad_key_code, NGX_STINT_BAD_KEY_CODE);
	ngx_conf_merge_uint_value(l->log_level, outer->log_level, NGX_LOG_ERR);
	ngx_conf_merge_value(l->ipv4_prefix, outer->ipv4_prefix, 0);
	ngx_conf_merge_value(l->ipv6_prefix, outer->ipv6_prefix, 0);
	ngx_conf_merge_bitmask_value(l->headers, outer->headers, (NGX_CONF_BITMASK_SET | NGX_STINT_HEADERS_ON));
	return NGX_CONF_OK;
}

static ngx_int_t complete(ngx_conf_t *cf) {
	struct ngx_stint_main *m = ngx_http_conf_get_module_main_conf(cf, ngx_http_stint_module);
	ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
	if (m->policies.nelts == 0)
		return NGX_OK;
	ngx_stint_complete_policies(m);
	ngx_array_t *handlers = &core->phases[NGX_HTTP_PREACCESS_PHASE].handlers;
	if (!ngx_array_push(handlers))
		return NGX_ERROR;
	/* The handlers of a phase run from the last to the first, and this one after the others: the realip module's
	 * finds the client's address, where a location has proxies of its own. */
	ngx_http_handler_pt *first = handlers->elts;
	ngx_memmove(first + 1, first, (handlers->nelts - 1) * sizeof(*first));
	*first = ngx_stint_handle;
	ngx_stint_add_filter();
	return NGX_OK;
}

/* ---- Directives --------------------------------------------------------------------- */

static char *read_socket(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
	struct ngx_stint_main *m = conf;
	const ngx_str_t *words = cf->args->elts;
	struct stint *attachment;
	(void)command;
	if (m->socket.data)
		return "is duplicate";
	m->socket = words[1];
	if (m->socket.data[0] != '/') {
		ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "stint_socket: \"%V\" must be a path that begins with \"/\"",
		                   &m->socket);
		return NGX_CONF_ERROR;
	}
	if (stint_open(&attachment, (const char *)m->socket.data) != 0) {
		ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "stint_socket: %s", stint_error_detail());
		return NGX_CONF_ERROR;
	}
	stint_close(attachment);
	return NGX_CONF_OK;
}

/* Reads a number of a directive's parameter, or says what is wrong with it. */
static ngx_int_t read_number(ngx_conf_t *cf, const char *directive, const ngx_str_t *word, size_t skipped,
                             ngx_int_t least, ngx_int_t most) {
	ngx_int_t number = ngx_atoi(word->data + skipped, word->len - skipped);
	if (number != NGX_ERROR && number >= least && number <= most)
		return number;
	ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s: \"%V\" must have a number from %i to %i", directive, word, least,
	                   most);
	return NGX_ERROR;
}

static bool starts_with(const ngx_str_t *word, const char *prefix) {
	return word->len >= ngx_strlen(prefix) && ngx_strncmp(word->data, prefix, ngx_strlen(prefix)) == 0;
}

/* stint_status CODE [bad_key=CODE]; */
static char *read_status(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
	struct ngx_stint_location *l = conf;
	const ngx_str_t *words = cf->args->elts;
	(void)command;
	if (l->rejected_code != NGX_CONF_UNSET_UINT)
		return "is duplicate";
	ngx_int_t code = read_number(cf, "stint_status", &words[1], 0, 400, 599);
	if (code == NGX_ERROR)
		return NGX_CONF_ERROR;
	l->rejected_code = (ngx_uint_t)code;
	if (cf->args->nelts == 2)
		return NGX_CONF_OK;
	if (!starts_with(&words[2], "bad_key=")) {
		ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "stint_status: no such parameter \"%V\", must be bad_key=CODE",
		                   &words[2]);
		return NGX_CONF_ERROR;
	}
	code = read_number(cf, "stint_status", &words[2], ngx_strlen("bad_key="), 400, 599);
	if (code == NGX_ERROR)
		return NGX_CONF_ERROR;
	l->bad_key_code = (ngx_uint_t)code;
	return NGX_CONF_OK;
}

/* stint_client_prefix [ipv4=BITS] [ipv6=BITS]; */
static char *read_prefix(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
	struct ngx_stint_location *l = conf;
	const ngx_str_t *words = cf->args->elts;
	(void)command;
	for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
		bool is_ipv4 = starts_with(&words[i], "ipv4=");
		ngx_int_t *prefix = is_ipv4 ? &l->ipv4_prefix : &l->ipv6_prefix;
		if (!is_ipv4 && !starts_with(&words[i], "ipv6=")) {
			ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
			                   "stint_client_prefix: no such parameter \"%V\", must be ipv4=BITS or ipv6=BITS",
			                   &words[i]);
			return NGX_CONF_ERROR;
		}
		if (*prefix != NGX_CONF_UNSET)
			return "is duplicate";
		*prefix = read_number(cf, "stint_client_prefix", &words[i], ngx_strlen("ipv4="), 1, is_ipv4 ? 32 : 128);
		if (*prefix == NGX_ERROR)
			return NGX_CONF_ERROR;
	}
	return NGX_CONF_OK;
}

/* Finds what a word of a directive stands for; `all` are the words that there are. */
static bool find_word(ngx_conf_t *cf, const char *directive, const ngx_str_t *word, const ngx_conf_enum_t *known,
                      const char *all, ngx_uint_t *value) {
	for (; known->name.len > 0; known++) {
		if (known->name.len != word->len || ngx_strncmp(known->name.data, word->data, word->len) != 0)
			continue;
		*value = known->value;
		return true;
	}
	ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s: \"%V\" must be %s", directive, word, all);
	return false;
}

/* stint_headers KIND...; */
static char *read_headers(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
	static const ngx_conf_enum_t kinds[] = {
		{ngx_string("off"), NGX_STINT_HEADERS_OFF},         {ngx_string("on"), NGX_STINT_HEADERS_ON},
		{ngx_string("retry_after"), NGX_STINT_RETRY_AFTER}, {ngx_string("draft_11"), NGX_STINT_DRAFT_11},
		{ngx_string("x_ratelimit"), NGX_STINT_X_RATELIMIT}, {ngx_null_string, 0},
	};
	struct ngx_stint_location *l = conf;
	const ngx_str_t *words = cf->args->elts;
	ngx_uint_t kind;
	(void)command;
	if (l->headers)
		return "is duplicate";
	for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
		if (!find_word(cf, "stint_headers", &words[i], kinds, "on, off, draft_11, x_ratelimit or retry_after",
		               &kind))
			return NGX_CONF_ERROR;
		l->headers |= NGX_CONF_BITMASK_SET | kind;
	}
	return (l->headers & NGX_STINT_HEADERS_OFF) && cf->args->nelts > 2 ? "has \"off\" beside others" : NGX_CONF_OK;
}

/* stint_log_level LEVEL; */
static char *read_log_level(ngx_conf_t *cf, ngx_command_t *command, void *conf) {
	static const ngx_conf_enum_t levels[] = {
		{ngx_string("info"), NGX_LOG_INFO},
		{ngx_string("notice"), NGX_LOG_NOTICE},
		{ngx_string("warn"), NGX_LOG_WARN},
		{ngx_string("error"), NGX_LOG_ERR},
		{ngx_null_string, 0},
	};
	struct ngx_stint_location *l = conf;
	const ngx_str_t *words = cf->args->elts;
	(void)command;
	if (l->log_level != NGX_CONF_UNSET_UINT)
		return "is duplicate";
	return find_word(cf, "stint_log_level", &words[1], levels, "info, notice, warn or error", &l->log_level)
	           ? NGX_CONF_OK
	           : NGX_CONF_ERROR;
}

#define EVERYWHERE (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF)

static ngx_command_t commands[] = {
	{ngx_string("stint_socket"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, read_socket, NGX_HTTP_MAIN_CONF_OFFSET, 0,
     NULL},
	{ngx_string("stint_limit"), EVERYWHERE | NGX_CONF_2MORE, ngx_stint_read_limit, NGX_HTTP_LOC_CONF_OFFSET, 0,
     NULL},
	{ngx_string("stint_status"), EVERYWHERE | NGX_CONF_TAKE12, read_status, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
	{ngx_string("stint_client_prefix"), EVERYWHERE | NGX_CONF_TAKE12, read_prefix, NGX_HTTP_LOC_CONF_OFFSET, 0,
     NULL},
	{ngx_string("stint_headers"), EVERYWHERE | NGX_CONF_1MORE, read_headers, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
	{ngx_string("stint_log_level"), EVERYWHERE | NGX_CONF_TAKE1, read_log_level, NGX_HTTP_LOC_CONF_OFFSET, 0,
     NULL},
	ngx_null_command,
};

/* ---- The module ------------------------------------------------------------------------ */

static void end_worker(ngx_cycle_t *cycle) {
	struct ngx_stint_main *m = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_stint_module);
	if (m)
		ngx_stint_detach(m);
}

static ngx_http_module_t context = {
	.preconfiguration = ngx_stint_add_variables,
	.postconfiguration = complete,
	.create_main_conf = create_main,
	.create_loc_conf = create_location,
	.merge_loc_conf = merge_location,
};

ngx_module_t ngx_http_stint_module = {
	NGX_MODULE_V1,
	&context,
	commands,
	NGX_HTTP_MODULE,
	NULL, /* init_master */
	NULL, /* init_module */
	NULL, /* init_process: a worker attaches when the first request needs it */
	NULL, /* init_thread */
	NULL, /* exit_thread */
	end_worker,
	NULL, /* exit_master */
	NGX_MODULE_V1_PADDING,
};
