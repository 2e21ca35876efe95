//! What a tensor is to a model.

/// The part of a decoder that a tensor belongs to. Shapes are `[rows, columns]`: a projection reads its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Token embedding `[vocab, hidden]`.
    Embedding,
    /// Fused query, key and value projection `[q + 2·kv, hidden]`: all q heads, all k heads, all v heads.
    QkvProj,
    /// Query projection `[q, hidden]`.
    QProj,
    /// Key projection `[kv, hidden]`.
    KProj,
    /// Value projection `[kv, hidden]`.
    VProj,
    /// Output projection of attention `[hidden, q]`.
    OProj,
    /// Norm of queries `[head_dim]` or `[q]`.
    QNorm,
    /// Norm of keys `[head_dim]` or `[kv]`.
    KNorm,
    /// A logit for each head that takes weight and gives nothing `[heads]`.
    Sinks,
    /// Into the queries' latent `[q_rank, hidden]`.
    QLatentProj,
    /// Norm of the queries' latent `[q_rank]`.
    QLatentNorm,
    /// Queries from their latent `[q, q_rank]`.
    QExpandProj,
    /// Into the latent of keys and values, and the rotated part `[kv_rank + rope, hidden]`.
    KvLatentProj,
    /// Norm of that latent `[kv_rank]`.
    KvLatentNorm,
    /// Keys and values from their latent `[heads·(nope + v), kv_rank]`.
    KvExpandProj,
    /// Queries, keys, values and their gate of a layer that keeps a state `[2·k + 2·v, hidden]`.
    StateProj,
    /// How much of a state is forgotten and how much written, for each value head `[2·heads, hidden]`.
    StateRatesProj,
    /// Queries, keys and values alone, where gate and rates are tensors of their own `[2·k + v, hidden]`.
    StateQkvProj,
    /// The gate `[v, hidden]`.
    StateGateProj,
    /// How much is written `[heads, hidden]`.
    StateWriteProj,
    /// How much is forgotten `[heads, hidden]`.
    StateTimeProj,
    /// Convolution over the last tokens, one for each channel of queries, keys and values `[2·k + v, 1, kernel]`.
    StateConv,
    /// Bias of the time step `[value heads]`.
    StateTimeBias,
    /// Logarithm of the decay `[value heads]`.
    StateDecay,
    /// Norm of what a state gives `[value head]`.
    StateNorm,
    /// Output projection of such a layer `[hidden, v]`.
    StateOutProj,
    /// Fused gate and up projection `[2·intermediate, hidden]`: gate first.
    GateUpProj,
    /// Gate projection `[intermediate, hidden]`.
    GateProj,
    /// Up projection `[intermediate, hidden]`.
    UpProj,
    /// Down projection `[hidden, intermediate]`.
    DownProj,
    /// Scores of experts `[experts, hidden]`.
    Router,
    /// Gate projection of one expert.
    ExpertGateProj,
    /// Up projection of one expert.
    ExpertUpProj,
    /// Down projection of one expert.
    ExpertDownProj,
    /// Gate and up projections of all experts in one tensor `[experts, hidden, 2·intermediate]`.
    ExpertsGateUpProj,
    /// Down projections of all experts in one tensor `[experts, intermediate, hidden]`.
    ExpertsDownProj,
    /// Gate projection of the experts that every token goes through.
    SharedGateProj,
    /// Up projection of those.
    SharedUpProj,
    /// Down projection of those.
    SharedDownProj,
    /// Weight of what those give `[1, hidden]`.
    SharedGate,
    /// Into the narrow path beside attention `[rank, hidden]`.
    LaurelDownProj,
    /// Out of it `[hidden, rank]`.
    LaurelUpProj,
    /// Norm of what it gives `[hidden]`.
    LaurelNorm,
    /// Scale of the corrected stream `[hidden]`.
    AltupScale,
    /// How a layer's result corrects each stream `[streams, streams]`.
    AltupCorrection,
    /// How streams predict each other `[streams², streams]`.
    AltupPrediction,
    /// What both depend on `[streams, hidden]`.
    AltupRouter,
    /// Norm before that `[hidden]`.
    AltupRouterNorm,
    /// Gate of a layer's own embedding `[width, hidden]`.
    LayerEmbeddingGate,
    /// Into the residual streams `[hidden, width]`.
    LayerEmbeddingProj,
    /// Norm of that `[hidden]`.
    LayerEmbeddingNorm,
    /// Token embeddings of all layers `[rows, layers·width]`.
    LayerEmbeddings,
    /// What the token's own embedding adds to them `[layers·width, hidden]`.
    LayerEmbeddingsProj,
    /// Norm of that `[width]`.
    LayerEmbeddingsNorm,
    /// Into each further residual stream `[hidden, hidden]`.
    StreamProj,
    /// Out of it `[hidden, hidden]`.
    StreamOutProj,
    /// Norm before attention `[hidden]`.
    InputNorm,
    /// Norm after attention: before the MLP, or before attention joins the residual `[hidden]`.
    PostAttentionNorm,
    /// Norm before the MLP where there are four `[hidden]`.
    PreFeedforwardNorm,
    /// Norm of what the MLP adds `[hidden]`.
    PostFeedforwardNorm,
    /// Norm after the last layer `[hidden]`.
    FinalNorm,
    /// Output head `[vocab, hidden]`; absent where it is tied to the embedding.
    LmHead,
    /// Norm of the embedding of a token further ahead `[hidden]`.
    PredictorEmbeddingNorm,
    /// Norm of the residual that a predictor reads `[hidden]`.
    PredictorHiddenNorm,
    /// Joins the two `[hidden, 2·hidden]`.
    PredictorProj,
    /// Norm before a predictor's head `[hidden]`.
    PredictorFinalNorm,
}

impl Role {
    /// Whether a token goes through some copies of it only, as a router says.
    #[must_use]
    pub fn is_routed(self) -> bool {
        use Role::{ExpertDownProj, ExpertGateProj, ExpertUpProj, ExpertsDownProj, ExpertsGateUpProj};
        matches!(self, ExpertGateProj | ExpertUpProj | ExpertDownProj | ExpertsGateUpProj | ExpertsDownProj)
    }
}
