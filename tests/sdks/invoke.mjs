// Reads calls from stdin, makes them one by one with the AWS SDK for JavaScript, prints outcomes.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(`${process.argv[2]}/`);
const sdk = require("@aws-sdk/client-sagemaker-runtime");
const { url, calls } = JSON.parse(await text(process.stdin));

async function outcome({ operation, keys, offset, call }) {
  const client = new sdk.SageMakerRuntimeClient({
    endpoint: url,
    region: "us-east-1",
    maxAttempts: 1,
    systemClockOffset: offset,
    credentials: { accessKeyId: keys[0], secretAccessKey: keys[1] },
  });
  const input = { ...call, Body: Buffer.from(call.Body, "base64") };
  try {
    const { $metadata, Body, ...fields } = await client.send(new sdk[`${operation}Command`](input));
    const body = [];
    if (operation === "InvokeEndpoint") {
      body.push(Buffer.from(Body));
    } else {
      for await (const event of Body) body.push(Buffer.from(event.PayloadPart.Bytes));
    }
    const parts = body.map((part) => part.toString("base64"));
    return { status: $metadata.httpStatusCode, fields, parts };
  } catch (error) {
    const { name, message, $metadata, ...fields } = error;
    return { code: name, message, status: $metadata?.httpStatusCode, fields };
  } finally {
    client.destroy();
  }
}

for (const call of calls) console.log(JSON.stringify(await outcome(call)));
