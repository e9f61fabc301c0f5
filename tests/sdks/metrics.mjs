// Reads GetMetricData's and GetMetricStatistics' arguments from stdin, prints the SDK's answers.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(`${process.argv[2]}/`);
const sdk = require("@aws-sdk/client-cloudwatch");
const { url, data, statistics } = JSON.parse(await text(process.stdin), (key, value) =>
  key.endsWith("Time") ? new Date(value) : value,
);
const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const options = { endpoint: url, region: "us-east-1", maxAttempts: 1, credentials };
const client = new sdk.CloudWatchClient(options);
const answers = {
  data: await client.send(new sdk.GetMetricDataCommand(data)),
  statistics: await client.send(new sdk.GetMetricStatisticsCommand(statistics)),
};
try {
  await client.send(new sdk.GetMetricStatisticsCommand({ ...statistics, Statistics: ["Mode"] }));
} catch (error) {
  answers.error = error.name;
}
console.log(JSON.stringify(answers));
