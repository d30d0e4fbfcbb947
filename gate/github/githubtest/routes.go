package githubtest

const repoPath = "/repos/{owner}/{repo}"

// allRoutes are all operations.
func allRoutes() []route {
	var out []route
	for _, part := range [][]route{appRoutes(), manifestRoutes(), peopleRoutes(), repoRoutes(), pullRoutes(), issueRoutes(), checkRoutes(), actionRoutes(), deploymentRoutes(), loginRoutes(), writeRoutes()} {
		out = append(out, part...)
	}
	return append(out,
		route{pattern: "POST /graphql", who: byToken, serve: (*call).graphql},
		route{pattern: "GET /rate_limit", who: byToken | byApp, serve: (*call).rates},
		route{pattern: "GET /meta", who: byToken | byApp | byAnyone, serve: func(c *call) (any, error) {
			return obj{"verifiable_password_authentication": false, "hooks": []string{"127.0.0.0/8"}, "web": []string{"127.0.0.0/8"}, "api": []string{"127.0.0.0/8"}, "actions": []string{"127.0.0.0/8"}}, nil
		}},
	)
}

func needs(permissions ...string) []string { return permissions }
