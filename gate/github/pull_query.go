package github

import (
	"time"

	"github.com/sallyport/sallyport/rules"
)

// checksFields ask for the checks at a commit. The ids are Ints in the schema, and
// larger than that.
const checksFields = `checkSuites(first:50){pageInfo{hasNextPage} nodes{app{slug databaseId} workflowRun{databaseId file{path}}
	checkRuns(first:100,filterBy:{checkType:LATEST}){pageInfo{hasNextPage} nodes{databaseId name status conclusion externalId}}}}
	status{contexts{context state creator{__typename login}}}`

const commitFields = `oid message author{name email user{login databaseId}} committer{name email user{login databaseId}}
	authors(first:20){totalCount nodes{name email user{login databaseId}}} parents(first:3){nodes{oid}} signature{isValid wasSignedByGitHub}`

// reviewFields ask for a review: its databaseId is an Int, which it has outgrown.
const reviewFields = `fullDatabaseId state submittedAt authorCanPushToRepository author{__typename login ...on Bot{databaseId} ...on User{databaseId}} commit{oid}`

const fileFields = `path changeType additions deletions`

// entryFields ask for a file of a commit. Its mode is what tells a symbolic link.
const entryFields = `mode oid object{__typename ...on Blob{text isBinary isTruncated}}`

// pullQuery asks all that a decision begins with. @checks@ is where checksFields go.
const pullQuery = `query pull($owner:String!,$name:String!,$number:Int!,$policy:String!){
	repository(owner:$owner,name:$name){databaseId nameWithOwner mergeCommitAllowed squashMergeAllowed rebaseMergeAllowed
		defaultBranchRef{name target{oid ...on Commit{file(path:$policy){` + entryFields + `}}}}
		pullRequest(number:$number){
			id number title body state isDraft mergeStateStatus isInMergeQueue mergeQueue{id} mergeCommit{oid} mergedAt baseRefName baseRefOid headRefName headRefOid changedFiles
			headRepository{databaseId nameWithOwner} author{__typename login ...on Bot{databaseId} ...on User{databaseId}}
			labels(first:100){nodes{name}}
			files(first:100){totalCount pageInfo{hasNextPage endCursor} nodes{` + fileFields + `}}
			commits(first:100){totalCount pageInfo{hasNextPage endCursor} nodes{commit{` + commitFields + `}}}
			last:commits(last:1){nodes{commit{oid associatedPullRequests(first:50){pageInfo{hasNextPage} nodes{number state headRefOid}} @checks@}}}
			reviews(first:100){totalCount pageInfo{hasNextPage endCursor} nodes{` + reviewFields + `}}
			timelineItems(last:1,itemTypes:[BASE_REF_CHANGED_EVENT,AUTOMATIC_BASE_CHANGE_SUCCEEDED_EVENT]){nodes{...on BaseRefChangedEvent{createdAt} ...on AutomaticBaseChangeSucceededEvent{createdAt}}}
			reviewRequests(first:100){nodes{requestedReviewer{__typename ...on User{login} ...on Team{slug combinedSlug}}}}
		}}}`

const pageQuery = `query page($owner:String!,$name:String!,$number:Int!,$after:String!){
	repository(owner:$owner,name:$name){pullRequest(number:$number){headRefOid baseRefName @page@}}}`

type (
	gqlPage struct {
		HasNextPage bool   `json:"hasNextPage"`
		EndCursor   string `json:"endCursor"`
	}
	gqlActor struct {
		Type       string          `json:"__typename"`
		Login      rules.Login     `json:"login"`
		DatabaseID rules.AccountID `json:"databaseId"`
	}
	gqlIdentity struct {
		Name  string    `json:"name"`
		Email string    `json:"email"`
		User  *gqlActor `json:"user"`
	}
	gqlOID struct {
		OID rules.SHA `json:"oid"`
	}
	gqlCommit struct {
		OID       rules.SHA   `json:"oid"`
		Message   string      `json:"message"`
		Author    gqlIdentity `json:"author"`
		Committer gqlIdentity `json:"committer"`
		Authors   struct {
			TotalCount int           `json:"totalCount"`
			Nodes      []gqlIdentity `json:"nodes"`
		} `json:"authors"`
		Parents struct {
			Nodes []gqlOID `json:"nodes"`
		} `json:"parents"`
		Signature *struct {
			IsValid           bool `json:"isValid"`
			WasSignedByGitHub bool `json:"wasSignedByGitHub"`
		} `json:"signature"`
	}
	gqlCommits struct {
		TotalCount int     `json:"totalCount"`
		PageInfo   gqlPage `json:"pageInfo"`
		Nodes      []struct {
			Commit gqlCommit `json:"commit"`
		} `json:"nodes"`
	}
	gqlReview struct {
		ID          bigInt     `json:"fullDatabaseId"`
		State       string     `json:"state"`
		SubmittedAt *time.Time `json:"submittedAt"`
		CanPush     *bool      `json:"authorCanPushToRepository"`
		Author      *gqlActor  `json:"author"`
		Commit      *gqlOID    `json:"commit"`
	}
	gqlReviews struct {
		TotalCount int         `json:"totalCount"`
		PageInfo   gqlPage     `json:"pageInfo"`
		Nodes      []gqlReview `json:"nodes"`
	}
	gqlFile struct {
		Path       string `json:"path"`
		ChangeType string `json:"changeType"`
		Additions  int    `json:"additions"`
		Deletions  int    `json:"deletions"`
	}
	gqlFiles struct {
		TotalCount int       `json:"totalCount"`
		PageInfo   gqlPage   `json:"pageInfo"`
		Nodes      []gqlFile `json:"nodes"`
	}
	gqlEntry struct {
		Mode   int       `json:"mode"`
		OID    rules.SHA `json:"oid"`
		Object *struct {
			Type        string  `json:"__typename"`
			Text        *string `json:"text"`
			IsBinary    *bool   `json:"isBinary"`
			IsTruncated bool    `json:"isTruncated"`
		} `json:"object"`
	}
	gqlSuites struct {
		PageInfo gqlPage `json:"pageInfo"`
		Nodes    []struct {
			App *struct {
				Slug       rules.Slug  `json:"slug"`
				DatabaseID rules.AppID `json:"databaseId"`
			} `json:"app"`
			WorkflowRun *struct {
				DatabaseID *rules.RunID `json:"databaseId"`
				File       *struct {
					Path string `json:"path"`
				} `json:"file"`
			} `json:"workflowRun"`
			CheckRuns struct {
				PageInfo gqlPage `json:"pageInfo"`
				Nodes    []struct {
					DatabaseID *rules.CheckRunID `json:"databaseId"`
					Name       string            `json:"name"`
					Status     string            `json:"status"`
					Conclusion string            `json:"conclusion"`
					ExternalID string            `json:"externalId"`
				} `json:"nodes"`
			} `json:"checkRuns"`
		} `json:"nodes"`
	}
	gqlHead struct {
		OID   rules.SHA `json:"oid"`
		Pulls struct {
			PageInfo gqlPage `json:"pageInfo"`
			Nodes    []struct {
				Number int       `json:"number"`
				State  string    `json:"state"`
				Head   rules.SHA `json:"headRefOid"`
			} `json:"nodes"`
		} `json:"associatedPullRequests"`
		Suites *gqlSuites `json:"checkSuites"`
		Status *struct {
			Contexts []struct {
				Context string    `json:"context"`
				State   string    `json:"state"`
				Creator *gqlActor `json:"creator"`
			} `json:"contexts"`
		} `json:"status"`
	}
	gqlPull struct {
		ID        string `json:"id"`
		Number    int    `json:"number"`
		Title     string `json:"title"`
		Body      string `json:"body"`
		State     string `json:"state"`
		IsDraft   bool   `json:"isDraft"`
		Mergeable string `json:"mergeStateStatus"`
		InQueue   bool   `json:"isInMergeQueue"`
		Queue     *struct {
			ID string `json:"id"`
		} `json:"mergeQueue"`
		MergeCommit    *gqlOID    `json:"mergeCommit"`
		MergedAt       *time.Time `json:"mergedAt"`
		BaseRef        string     `json:"baseRefName"`
		BaseOID        rules.SHA  `json:"baseRefOid"`
		HeadRef        string     `json:"headRefName"`
		HeadOID        rules.SHA  `json:"headRefOid"`
		ChangedFiles   int        `json:"changedFiles"`
		HeadRepository *struct {
			DatabaseID rules.RepositoryID `json:"databaseId"`
			Name       string             `json:"nameWithOwner"`
		} `json:"headRepository"`
		Author *gqlActor `json:"author"`
		Labels struct {
			Nodes []struct {
				Name string `json:"name"`
			} `json:"nodes"`
		} `json:"labels"`
		Files   *gqlFiles  `json:"files"`
		Commits gqlCommits `json:"commits"`
		Last    struct {
			Nodes []struct {
				Commit gqlHead `json:"commit"`
			} `json:"nodes"`
		} `json:"last"`
		Reviews   *gqlReviews `json:"reviews"`
		Retargets struct {
			Nodes []struct {
				CreatedAt time.Time `json:"createdAt"`
			} `json:"nodes"`
		} `json:"timelineItems"`
		Requests struct {
			Nodes []struct {
				Reviewer *struct {
					Type  string `json:"__typename"`
					Login string `json:"login"`
					Slug  string `json:"slug"`
					Full  string `json:"combinedSlug"`
				} `json:"requestedReviewer"`
			} `json:"nodes"`
		} `json:"reviewRequests"`
	}
	gqlRepository struct {
		DatabaseID rules.RepositoryID `json:"databaseId"`
		Name       string             `json:"nameWithOwner"`
		Merge      bool               `json:"mergeCommitAllowed"`
		Squash     bool               `json:"squashMergeAllowed"`
		Rebase     bool               `json:"rebaseMergeAllowed"`
		Default    *struct {
			Name   string `json:"name"`
			Target *struct {
				OID  rules.SHA `json:"oid"`
				File *gqlEntry `json:"file"`
			} `json:"target"`
		} `json:"defaultBranchRef"`
		Pull *gqlPull `json:"pullRequest"`
	}
)

// actor is an account as REST spells it: GraphQL leaves out a bot's "[bot]".
func (a *gqlActor) actor() rules.Actor {
	switch {
	case a == nil:
		return rules.Actor{}
	case a.Type == "Bot":
		return rules.Actor{ID: a.DatabaseID, Login: a.Login + "[bot]", Type: rules.ActorBot}
	case a.Type == "" || a.Type == "User":
		return rules.Actor{ID: a.DatabaseID, Login: a.Login, Type: rules.ActorUser}
	default:
		return rules.Actor{ID: a.DatabaseID, Login: a.Login}
	}
}

func (i gqlIdentity) identity() rules.Identity {
	a := i.User.actor()
	return rules.Identity{ID: a.ID, Login: a.Login, Name: i.Name, Email: i.Email}
}

// file is what an entry of a commit is as a file. A symbolic link is none, whatever
// its text is.
func (e *gqlEntry) file() PolicyFile {
	if e == nil {
		return PolicyFile{State: FileAbsent}
	}
	plain := e.Mode == 0o100644 || e.Mode == 0o100755
	b := e.Object
	if !plain || b == nil || b.Type != "Blob" || b.Text == nil || b.IsTruncated || b.IsBinary != nil && *b.IsBinary {
		return PolicyFile{State: FileUnreadable, Blob: e.OID}
	}
	return PolicyFile{State: FileFound, Blob: e.OID, Text: []byte(*b.Text)}
}
