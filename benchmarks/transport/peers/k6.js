// k6 with as many users as asked for, each sending again once it is answered; unsigned.
import http from "k6/http";

export const options = {
  insecureSkipTLSVerify: true,
  scenarios: {
    load: { executor: "constant-vus", vus: Number(__ENV.USERS), duration: `${__ENV.SECONDS}s` },
  },
};

export default function () {
  http.post(__ENV.URL + __ENV.REQUEST_PATH, __ENV.BODY, {
    headers: { "content-type": "application/json" },
  });
}
