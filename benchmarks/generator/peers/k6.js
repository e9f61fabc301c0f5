// k6's `constant-arrival-rate`, or with THINK_S `constant-vus` and a sleep after each answer.
// Settings are environment variables: URL, REQUEST_PATH, BODY, RATE, USERS, SECONDS, THINK_S.
import exec from "k6/execution";
import http from "k6/http";
import { sleep } from "k6";

const rate = Number(__ENV.RATE);
const users = Number(__ENV.USERS);
const think_s = __ENV.THINK_S === undefined ? null : Number(__ENV.THINK_S);
const open = {
  executor: "constant-arrival-rate",
  rate: rate,
  timeUnit: "1s",
  preAllocatedVUs: users,
  maxVUs: users,
};
const closed = { executor: "constant-vus", vus: users };

export const options = {
  systemTags: ["status"],
  scenarios: {
    load: Object.assign(
      { duration: `${__ENV.SECONDS}s`, gracefulStop: "5s" },
      think_s === null ? open : closed,
    ),
  },
};

export default function () {
  if (think_s !== null && exec.vu.iterationInScenario === 0) {
    sleep((exec.vu.idInTest - 1) / rate); // spreads the users' starts evenly
  }
  http.post(__ENV.URL + __ENV.REQUEST_PATH, __ENV.BODY, {
    headers: {
      "content-type": "application/json",
      "x-user": String(exec.scenario.iterationInTest),
    },
  });
  if (think_s !== null) {
    sleep(think_s);
  }
}
