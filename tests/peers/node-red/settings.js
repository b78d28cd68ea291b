// The peer of scripts/bench thehive: no editor, no log but warnings, one flow.
module.exports = {
	uiHost: "127.0.0.1",
	uiPort: Number(process.env.PORT),
	httpAdminRoot: false,
	flowFile: process.env.FLOW,
	credentialSecret: false,
	readOnly: true,
	logging: {console: {level: "warn", metrics: false, audit: false}},
};
