package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// What the Node action is made of, at npm.
var nodePackages = []string{"@actions/core@3.0.1", "@actions/github@9.1.1", "esbuild@0.28.2"}

// nodeAction is an approval action in its smallest form.
const nodeAction = `import * as core from "@actions/core";
import * as github from "@actions/github";

async function main() {
  const api = github.getOctokit(core.getInput("token", {required: true}), {baseUrl: process.env.GITHUB_API_URL});
  const at = {...github.context.repo, pull_number: github.context.payload.pull_request.number};
  const pull = await api.rest.pulls.get(at);
  const files = await api.rest.pulls.listFiles({...at, per_page: 100});
  const reviews = await api.rest.pulls.listReviews({...at, per_page: 100});
  const approved = reviews.data.some((r) => r.state === "APPROVED" && r.commit_id === pull.data.head.sha);
  core.setOutput("human-needed", String(!approved && files.data.some((f) => !f.filename.startsWith("docs/"))));
}

main().catch((e) => core.setFailed(e.message));
`

// nodeCases are Node alone and the Node action, bundled into one file as such actions are.
func (s *scene) nodeCases(ctx context.Context) ([]*timed, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("%w: get node and npm with: apt-get install nodejs npm", err)
	}
	dir := filepath.Join(s.dir, "node")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"package.json": `{"private":true,"type":"commonjs"}`, "main.mjs": nodeAction} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	for _, args := range [][]string{
		append([]string{"npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"}, nodePackages...),
		{"node_modules/.bin/esbuild", "main.mjs", "--bundle", "--minify", "--platform=node", "--format=cjs", "--outfile=index.js"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %.1000s", args[0], err, out)
		}
	}
	env := append(s.asked(), "INPUT_TOKEN="+s.token)
	return []*timed{
		{name: "node with an empty program", args: []string{node, "-e", ""}, env: env},
		{name: "a Node action: the pull request, its files, its reviews", args: []string{node, filepath.Join(dir, "index.js")}, env: env, want: "human-needed"},
	}, nil
}
