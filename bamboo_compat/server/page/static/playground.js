// GraphiQL on this node's own /graphql. What is typed stays in this browser; headers are not kept,
// since they may hold tokens.
"use strict";

const place = document.getElementById("graphiql");

const EXAMPLE = `# Where the next entry of an author goes.
query {
  nextArgs(publicKey: "${"00".repeat(32)}") {
    logId
    seqNum
    backlink
    skiplink
  }
}
`;

async function ask(question, options) {
  const headers = { ...((options && options.headers) || {}) };
  headers["content-type"] = "application/json";
  headers["x-csrf-token"] = place.dataset.csrf;
  const body = JSON.stringify(question);
  const answer = await fetch("/graphql", { method: "POST", headers, body });
  try {
    return await answer.json();
  } catch {
    return { errors: [{ message: `The node answered ${answer.status}.` }] };
  }
}

ReactDOM.createRoot(place).render(
  React.createElement(GraphiQL, {
    fetcher: ask,
    defaultQuery: EXAMPLE,
    defaultEditorToolsVisibility: "variables",
    shouldPersistHeaders: false,
  }),
);
