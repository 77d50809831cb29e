"""The declarations of all methods, by name."""

from jaxkd.recipes._dot import DOT
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes.ab import AB
from jaxkd.recipes.afd import AFD
from jaxkd.recipes.at import AT
from jaxkd.recipes.binary_kd import BINARY_KD
from jaxkd.recipes.cat_kd import CAT_KD
from jaxkd.recipes.cc import CC
from jaxkd.recipes.cka import CKA
from jaxkd.recipes.crd import CRD
from jaxkd.recipes.ctkd import CTKD
from jaxkd.recipes.cwd import CWD
from jaxkd.recipes.deit import DEIT
from jaxkd.recipes.dense_kd import DENSE_KD
from jaxkd.recipes.dist import DIST
from jaxkd.recipes.dkd import DKD
from jaxkd.recipes.embedding_kd import EMBEDDING_KD
from jaxkd.recipes.fitnet import FITNET
from jaxkd.recipes.fsp import FSP
from jaxkd.recipes.ft import FT
from jaxkd.recipes.gaussian_kd import GAUSSIAN_KD
from jaxkd.recipes.ickd import ICKD
from jaxkd.recipes.info_nce import INFO_NCE
from jaxkd.recipes.itrd import ITRD
from jaxkd.recipes.kd import KD
from jaxkd.recipes.kdsvd import KDSVD
from jaxkd.recipes.labels import LABELS
from jaxkd.recipes.language.distilbert import DISTILBERT
from jaxkd.recipes.language.distillm2 import DISTILLM2
from jaxkd.recipes.language.gkd import GKD
from jaxkd.recipes.language.minillm import MINILLM
from jaxkd.recipes.language.minilm import MINILM
from jaxkd.recipes.language.on_policy_reverse_kl import ON_POLICY_REVERSE_KL
from jaxkd.recipes.language.tinybert import TINYBERT
from jaxkd.recipes.language.token_kd import TOKEN_KD
from jaxkd.recipes.logit_mse import LOGIT_MSE
from jaxkd.recipes.lskd import LSKD
from jaxkd.recipes.mgd import MGD
from jaxkd.recipes.mlkd import MLKD
from jaxkd.recipes.nkd import NKD, USKD
from jaxkd.recipes.nst import NST
from jaxkd.recipes.ofa import OFA
from jaxkd.recipes.ofd import OFD
from jaxkd.recipes.pkd import PKD
from jaxkd.recipes.pkt import PKT
from jaxkd.recipes.ranking_kd import RANKING_KD
from jaxkd.recipes.regression_kd import REGRESSION_KD
from jaxkd.recipes.reviewkd import REVIEWKD
from jaxkd.recipes.rkd import RKD
from jaxkd.recipes.rld import RLD
from jaxkd.recipes.sdd import SDD
from jaxkd.recipes.semckd import SEMCKD
from jaxkd.recipes.simkd import SIMKD
from jaxkd.recipes.sp import SP
from jaxkd.recipes.srd import SRD
from jaxkd.recipes.srrl import SRRL
from jaxkd.recipes.ttm import TTM, WTTM
from jaxkd.recipes.vid import VID
from jaxkd.recipes.vkd import VKD
from jaxkd.recipes.wkd import WKD_FEATURE, WKD_LOGIT
from jaxkd.recipes.wsld import WSLD

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        AB,
        AFD,
        AT,
        BINARY_KD,
        CAT_KD,
        CC,
        CKA,
        CRD,
        CTKD,
        CWD,
        DEIT,
        DENSE_KD,
        DIST,
        DKD,
        DOT,
        EMBEDDING_KD,
        FITNET,
        FSP,
        FT,
        GAUSSIAN_KD,
        ICKD,
        INFO_NCE,
        ITRD,
        KD,
        KDSVD,
        LABELS,
        LOGIT_MSE,
        LSKD,
        MGD,
        MLKD,
        NKD,
        USKD,
        NST,
        OFA,
        OFD,
        PKD,
        PKT,
        RANKING_KD,
        REGRESSION_KD,
        REVIEWKD,
        RKD,
        RLD,
        SDD,
        SEMCKD,
        SIMKD,
        SP,
        SRD,
        SRRL,
        TTM,
        WTTM,
        VID,
        VKD,
        WKD_LOGIT,
        WKD_FEATURE,
        WSLD,
        DISTILBERT,
        DISTILLM2,
        GKD,
        MINILLM,
        MINILM,
        ON_POLICY_REVERSE_KL,
        TINYBERT,
        TOKEN_KD,
    )
}
