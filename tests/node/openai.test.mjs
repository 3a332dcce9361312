// OpenAI's package for Node against a running lmrun. LMRUN_ADDRESS: where it listens; its models
// are `scripted`, which says "Hello world" and calls a tool where one is offered, and `smollm2`.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.LMRUN_ADDRESS}/v1`,
  apiKey: "none",
  maxRetries: 0,
});
const hello = [{ role: "user", content: "Say hello." }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_delivery_date",
      description: "When an order is delivered",
      parameters: {
        type: "object",
        properties: { order_id: { type: "string", maxLength: 8 } },
        required: ["order_id"],
        additionalProperties: false,
      },
    },
  },
];

test("models are listed", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names.sort(), ["scripted", "smollm2"]);
});

test("a chat is answered whole", async () => {
  const answer = await client.chat.completions.create({ model: "scripted", messages: hello });
  assert.equal(answer.choices[0].message.content, "Hello world");
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("a chat is streamed, with its usage at the end", async () => {
  const stream = await client.chat.completions.create({
    model: "scripted",
    messages: hello,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, "Hello world");
  assert.ok(usage.completion_tokens > 0);
});

test("a stream can be left, and the next request is answered", async () => {
  const stream = await client.chat.completions.create({
    model: "smollm2",
    messages: hello,
    stream: true,
  });
  for await (const _ of stream) break;
  const answer = await client.chat.completions.create({ model: "scripted", messages: hello });
  assert.equal(answer.choices[0].message.content, "Hello world");
});

test("the package's helper collects a stream", async () => {
  const stream = client.chat.completions.stream({ model: "scripted", messages: hello });
  assert.equal(await stream.finalContent(), "Hello world");
});

test("a required tool is called with arguments of its schema", async () => {
  const answer = await client.chat.completions.create({
    model: "smollm2",
    messages: [{ role: "user", content: "When does order 1017 arrive?" }],
    tools,
    tool_choice: "required",
    max_tokens: 200,
    seed: 1,
  });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_delivery_date");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["order_id"]);
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
});

test("a tool call is streamed, and its result can be sent back", async () => {
  const messages = [{ role: "user", content: "When does order 1017 arrive?" }];
  const stream = client.chat.completions.stream({
    model: "smollm2",
    messages,
    tools,
    tool_choice: { type: "function", function: { name: "get_delivery_date" } },
    max_tokens: 200,
    seed: 1,
  });
  const message = await stream.finalMessage();
  const [call] = message.tool_calls;
  assert.equal(typeof JSON.parse(call.function.arguments).order_id, "string");
  const answer = await client.chat.completions.create({
    model: "smollm2",
    messages: [
      ...messages,
      message,
      { role: "tool", tool_call_id: call.id, content: "2026-12-24" },
    ],
    max_tokens: 16,
  });
  assert.equal(typeof answer.choices[0].message.content, "string");
});

test("an answer satisfies a JSON schema", async () => {
  const schema = {
    type: "object",
    properties: { joke: { type: "string", maxLength: 40 } },
    required: ["joke"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.create({
    model: "smollm2",
    messages: [{ role: "user", content: "Tell me a joke." }],
    response_format: { type: "json_schema", json_schema: { name: "joke", strict: true, schema } },
    max_tokens: 200,
  });
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).joke, "string");
});

test("an unknown model is the package's own error", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: "nobody", messages: hello }),
    (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
  );
});

test("an unknown parameter is refused by name", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: "scripted", messages: hello, temprature: 1 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temprature",
  );
});
