/*
 * dashboard.js - holds the Grafana dashboard to the metrics that an agent tells.
 *
 *     node tests/cli/dashboard.js DASHBOARD METRICS RULES
 *
 * DASHBOARD is Grafana's JSON, METRICS the text of a scrape with a policy in it. Prints what is wrong, a line each, and
 * exits with 1 if anything is. To RULES go all expressions as recording rules, for `promtool check rules`.
 */
'use strict';
const fs = require('fs');

const [, , dashboardFile, metricsFile, rulesFile] = process.argv;

/* What Prometheus adds to each sample of a scrape. */
const SCRAPED = ['instance', 'job'];

/* What Grafana puts in the place of its own variables; those of the dashboard may be anything. */
const OWN = {__rate_interval: '5m'};

const faults = new Set();

/* ---- What there is -------------------------------------------------------------------- */

/* By the sample's name: of each of its labels the values. */
function readMetrics(text) {
	const metrics = new Map();
	for (const line of text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))) {
		const [, name, pairs] = /^([a-z_]+)(?:\{(.*)\})? /.exec(line);
		const labels = metrics.get(name) ?? new Map();
		for (const [, label, value] of (pairs ?? '').matchAll(/(\w+)="([^"]*)"/g))
			labels.set(label, (labels.get(label) ?? new Set()).add(value));
		metrics.set(name, labels);
	}
	return metrics;
}

function familiesOf(text) {
	return [...text.matchAll(/^# TYPE (stint_[a-z_]+) /gm)].map(([, name]) => name);
}

/* ---- What is asked for ---------------------------------------------------------------- */

function replaceVariables(where, query, variables) {
	return query.replace(/\$(\w+)/g, (whole, name) => {
		if (!(name in OWN) && !variables.has(name))
			faults.add(`${where}: there is no variable ${whole}`);
		return OWN[name] ?? '.*';
	});
}

/* The labels of a list in brackets behind `by` or `on`; undefined if the expression has no such list. */
function listed(word, expression) {
	const found = new RegExp(`\\b${word} \\(([^)]*)\\)`).exec(expression);
	return found?.[1].split(/, */);
}

function checkMatcher(where, labels, name, [, label, operator, value]) {
	if (!labels.has(label) && !SCRAPED.includes(label))
		faults.add(`${where}: ${name} has no label ${label}`);
	if (!labels.has(label) || /[.*+]/.test(value))
		return;
	for (const one of operator.endsWith('~') ? value.split('|') : [value])
		if (!labels.get(label).has(one))
			faults.add(`${where}: no sample of ${name} has ${label}="${one}"`);
}

/* Returns the labels that the expression's metrics have. */
function checkMetrics(where, expression, metrics) {
	const all = new Set(SCRAPED);
	for (const [, name, matchers] of expression.matchAll(/\b((?:stint|process)_[a-z_]+)(\{[^}]*\})?/g)) {
		const labels = metrics.get(name);
		if (labels === undefined) {
			faults.add(`${where}: there is no metric ${name}`);
			continue;
		}
		for (const label of labels.keys())
			all.add(label);
		for (const matcher of (matchers ?? '').matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g))
			checkMatcher(where, labels, name, matcher);
	}
	return all;
}

/* A legend may name what is left of the labels, which is what the outermost aggregation is by. */
function checkQuery(where, query, metrics) {
	const has = checkMetrics(where, query.expression, metrics);
	const by = listed('by', query.expression), on = listed('on', query.expression);
	for (const label of [...by ?? [], ...on ?? []].filter((label) => !has.has(label)))
		faults.add(`${where}: none of its metrics has the label ${label}`);
	const left = by ?? (/\b(sum|min|max|count)\b/.test(query.expression) ? [] : [...has]);
	for (const label of query.legend.filter((label) => !left.includes(label)))
		faults.add(`${where}: the legend names ${label}, which is not left`);
}

/* ---- The dashboard -------------------------------------------------------------------- */

function panelsOf(dashboard) {
	return dashboard.panels.flatMap((panel) => [panel, ...panel.panels ?? []]).filter((panel) => panel.type !== 'row');
}

function queriesOf(dashboard, variables) {
	const queries = [];
	for (const panel of panelsOf(dashboard))
		for (const {expr, legendFormat, refId} of panel.targets)
			queries.push({
				where: `panel ${panel.id}, "${panel.title}", ${refId}`,
				name: `panel_${panel.id}_${refId}`,
				expression: replaceVariables(panel.title, expr, variables),
				legend: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label),
			});
	for (const {name, query} of dashboard.templating.list.filter(({type}) => type === 'query')) {
		const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(query.query);
		queries.push({
			where: `variable ${name}`,
			name: `variable_${name}`,
			expression: replaceVariables(name, selector, variables),
			legend: [label],
		});
	}
	return queries;
}

/* Each says what it shows and when to worry, and takes the data source that was chosen. */
function checkPanels(dashboard) {
	const ids = new Set();
	for (const panel of panelsOf(dashboard)) {
		if (!/^[^]{20,}\.$/.test(panel.description ?? ''))
			faults.add(`panel ${panel.id}, "${panel.title}": its description is "${panel.description ?? ''}"`);
		for (const {datasource} of [panel, ...panel.targets])
			if (datasource?.uid !== '${datasource}')
				faults.add(`panel ${panel.id}, "${panel.title}": its data source is "${datasource?.uid}"`);
		if (ids.has(panel.id))
			faults.add(`panel ${panel.id} is there twice`);
		ids.add(panel.id);
	}
}

const text = fs.readFileSync(metricsFile, 'utf8');
const dashboard = JSON.parse(fs.readFileSync(dashboardFile, 'utf8'));
const metrics = readMetrics(text);
const queries = queriesOf(dashboard, new Set(dashboard.templating.list.map(({name}) => name)));

checkPanels(dashboard);
for (const query of queries)
	checkQuery(query.where, query, metrics);
for (const family of familiesOf(text))
	if (!queries.some(({expression}) => new RegExp(`\\b${family}(_bucket)?\\b`).test(expression)))
		faults.add(`no panel shows ${family}`);

fs.writeFileSync(rulesFile, 'groups:\n  - name: dashboard\n    rules:\n' + queries.map(({name, expression}) =>
	`      - {record: "${name}", expr: ${JSON.stringify(expression)}}\n`).join(''));
for (const fault of faults)
	console.log(fault);
process.exitCode = faults.size > 0 ? 1 : 0;
