package github

import (
	"context"
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/rules"
)

// Step is a commit of the default branch that changed a file.
type Step struct {
	Commit rules.SHA
	File   PolicyFile
	// Pull is the merged pull request that brought it, 0 if none did; PullHead and
	// PullBase are its head commit and base branch.
	Pull     int
	PullHead rules.SHA
	PullBase string
	// SignedByGitHub says that GitHub made the commit.
	SignedByGitHub bool
	// HeadBlob is the file at PullHead, "" if it is not there.
	HeadBlob rules.SHA
}

// Steps are how a file came from one commit to another.
type Steps struct {
	// Descends says whether the later commit descends from the earlier one.
	Descends rules.Tri
	// Complete is false if there are more commits between than are looked at.
	Complete bool
	List     []Step // oldest first
}

// Limits of a history.
const (
	maxBetween = 1000
	batch      = 50
)

// PolicySteps finds each commit on the first-parent line from one commit to another
// at which a file changed, and the pull request that brought it.
func (r *Repository) PolicySteps(ctx context.Context, path string, from, to rules.SHA) (Steps, error) {
	parents := map[rules.SHA]rules.SHA{}
	out := Steps{Complete: true}
	for page := 1; ; page++ {
		var c struct {
			Status  string `json:"status"`
			Total   int    `json:"total_commits"`
			Commits []struct {
				SHA     rules.SHA `json:"sha"`
				Parents []struct {
					SHA rules.SHA `json:"sha"`
				} `json:"parents"`
			} `json:"commits"`
		}
		more, err := r.get(ctx, fmt.Sprintf("compare/%s...%s?per_page=100&page=%d", from, to, page), &c)
		if err != nil {
			return Steps{}, fmt.Errorf("comparing %s with %s: %w", from.Short(), to.Short(), err)
		}
		switch c.Status {
		case "ahead", "identical":
			out.Descends = rules.Yes
		default:
			out.Descends = rules.No
			return out, nil
		}
		for _, k := range c.Commits {
			parent := rules.SHA("")
			if len(k.Parents) > 0 {
				parent = k.Parents[0].SHA
			}
			parents[k.SHA] = parent
		}
		if len(parents) >= c.Total {
			break
		}
		if !more || len(parents) >= maxBetween {
			out.Complete = false
			return out, nil
		}
	}
	var line []rules.SHA // newest first
	for at := to; at != from; at = parents[at] {
		if _, known := parents[at]; !known {
			// The earlier commit is not on the first-parent line: it came by a merge's
			// side, so that the line is not its continuation.
			out.Descends = rules.No
			return out, nil
		}
		line = append(line, at)
	}
	line = append(line, from)
	blobs, err := r.blobs(ctx, path, line)
	if err != nil {
		return Steps{}, err
	}
	for i := len(line) - 2; i >= 0; i-- {
		if blobs[line[i]] == blobs[line[i+1]] {
			continue
		}
		s, err := r.step(ctx, path, line[i])
		if err != nil {
			return Steps{}, err
		}
		if n := len(out.List); n > 0 && s.Pull != 0 && out.List[n-1].Pull == s.Pull {
			out.List[n-1] = s
			continue
		}
		out.List = append(out.List, s)
	}
	return out, nil
}

// blobs are a file's blobs at commits; "" where it is not.
func (r *Repository) blobs(ctx context.Context, path string, commits []rules.SHA) (map[rules.SHA]rules.SHA, error) {
	out := map[rules.SHA]rules.SHA{}
	for len(commits) > 0 {
		part := commits[:min(batch, len(commits))]
		commits = commits[len(part):]
		var q strings.Builder
		declared := []string{"$owner:String!", "$name:String!"}
		v := map[string]any{"owner": r.owner, "name": r.name}
		for i, c := range part {
			declared = append(declared, fmt.Sprintf("$c%d:String!", i))
			v[fmt.Sprintf("c%d", i)] = string(c) + ":" + path
			fmt.Fprintf(&q, "c%d:object(expression:$c%d){oid}\n", i, i)
		}
		var data struct {
			Repository map[string]*gqlOID `json:"repository"`
		}
		if err := r.query(ctx, "query blobs("+strings.Join(declared, ",")+"){repository(owner:$owner,name:$name){"+q.String()+"}}", v, &data); err != nil {
			return nil, err
		}
		for i, c := range part {
			out[c] = ""
			if o := data.Repository[fmt.Sprintf("c%d", i)]; o != nil {
				out[c] = o.OID
			}
		}
	}
	return out, nil
}

// step reads one commit that changed a file, and what brought it.
func (r *Repository) step(ctx context.Context, path string, commit rules.SHA) (Step, error) {
	var data struct {
		Repository *struct {
			Commit *struct {
				File      *gqlEntry `json:"file"`
				Signature *struct {
					IsValid           bool `json:"isValid"`
					WasSignedByGitHub bool `json:"wasSignedByGitHub"`
				} `json:"signature"`
				Pulls struct {
					Nodes []struct {
						Number   int       `json:"number"`
						State    string    `json:"state"`
						BaseRef  string    `json:"baseRefName"`
						Head     rules.SHA `json:"headRefOid"`
						MergedBy *gqlOID   `json:"mergeCommit"`
					} `json:"nodes"`
				} `json:"associatedPullRequests"`
			} `json:"commit"`
		} `json:"repository"`
	}
	err := r.query(ctx, `query step($owner:String!,$name:String!,$file:String!,$commit:GitObjectID!){repository(owner:$owner,name:$name){
		commit:object(oid:$commit){...on Commit{file(path:$file){`+entryFields+`} signature{isValid wasSignedByGitHub}
			associatedPullRequests(first:50){nodes{number state baseRefName headRefOid mergeCommit{oid}}}}}}}`,
		map[string]any{"owner": r.owner, "name": r.name, "file": path, "commit": string(commit)}, &data)
	if err != nil {
		return Step{}, err
	}
	if data.Repository == nil || data.Repository.Commit == nil {
		return Step{}, ErrNotFound
	}
	s := Step{Commit: commit, File: data.Repository.Commit.File.file()}
	s.File.Commit = commit
	k := data.Repository.Commit
	s.SignedByGitHub = k.Signature != nil && k.Signature.IsValid && k.Signature.WasSignedByGitHub
	for _, p := range k.Pulls.Nodes {
		if p.State != "MERGED" || p.MergedBy == nil {
			continue
		}
		// The one whose merge it is; else one that it belongs to.
		if s.Pull == 0 || p.MergedBy.OID == commit {
			s.Pull, s.PullHead, s.PullBase = p.Number, p.Head, p.BaseRef
		}
	}
	if s.Pull != 0 {
		blobs, err := r.blobs(ctx, path, []rules.SHA{s.PullHead})
		if err != nil {
			return Step{}, err
		}
		s.HeadBlob = blobs[s.PullHead]
	}
	return s, nil
}
