"""What the numbers of the tissue graph mean, for the feature dictionary."""

from __future__ import annotations

from poolvox.shared.features import Feature

__all__ = ["EDGE_FEATURES", "GRAPH_FEATURES", "NODE_FEATURES"]

EDGE_FEATURES = (
    Feature("Kind", "", "how neighbours were found: contact, delaunay, knn or radius"),
    Feature("Distance_um", "um", "between the centroids", "", "[0, inf)"),
    Feature(
        "ContactArea_um2",
        "um2",
        "area of touch, Crofton's formula or the summed faces as vectors; contact edges only",
        "",
        "[0, inf)",
    ),
    Feature("SourceShare", "", "ContactArea over the surface of the source", "", "[0, 1]"),
    Feature("TargetShare", "", "ContactArea over the surface of the target", "", "[0, 1]"),
)

NODE_FEATURES = (
    Feature("Degree", "count", "number of neighbours", "", "[0, inf)"),
    Feature("Clustering", "", "share of pairs of neighbours that are neighbours", "", "[0, 1]"),
    Feature("PageRank", "", "of the unweighted graph, damping 0.85", "", "(0, 1]"),
    Feature("CoreNumber", "count", "largest k of a k-core that holds the node", "", "[0, inf)"),
    Feature(
        "Closeness",
        "",
        "reached nodes over summed steps to them, times their share in all nodes",
        "doi:10.1017/CBO9780511815478",
        "[0, 1]",
    ),
    Feature(
        "Betweenness",
        "",
        "share of shortest paths between other nodes that pass through",
        "doi:10.1080/0022250X.2001.9990249",
        "[0, 1]",
    ),
    Feature("Eccentricity", "count", "steps to the farthest node of its component", "", "[0, inf)"),
    Feature("NeighbourDistance_Mean_um", "um", "mean distance to its neighbours' centroids"),
    Feature("NeighbourDistance_Min_um", "um", "distance to its nearest neighbour's centroid"),
    Feature("NeighbourDistance_Max_um", "um", "distance to its farthest neighbour's centroid"),
    Feature("NeighbourDistance_SD_um", "um", "standard deviation of the distances to neighbours"),
    Feature(
        "LocalDensity_per_um3",
        "per_um3",
        "6 over the volume of the ball that reaches to the sixth nearest centroid",
    ),
    Feature("ContactArea_um2", "um2", "surface that touches other objects"),
    Feature(
        "ContactFraction",
        "",
        "ContactArea over the whole surface, that at the border of the image left out",
    ),
    Feature("FreeArea_um2", "um2", "surface that touches background"),
    Feature("NeighbourMean_{feature}", "", "mean of a feature over the neighbours"),
    Feature("NeighbourSD_{feature}", "", "standard deviation of a feature over the neighbours"),
)

GRAPH_FEATURES = (
    Feature("Nodes", "count", "objects in the organoid"),
    Feature("Edges", "count", "pairs of neighbours"),
    Feature("Components", "count", "parts without edges between them"),
    Feature("GiantFraction", "", "share of the nodes in the largest component", "", "(0, 1]"),
    Feature("Density", "", "edges over all possible ones", "", "[0, 1]"),
    Feature("DegreeMean", "count", "mean number of neighbours"),
    Feature("DegreeCV", "", "coefficient of variation of the number of neighbours"),
    Feature("Clustering", "", "mean clustering of the nodes", "", "[0, 1]"),
    Feature("Transitivity", "", "closed triples over connected triples", "", "[0, 1]"),
    Feature(
        "Assortativity", "", "correlation of the degrees at both ends of an edge", "", "[-1, 1]"
    ),
    Feature("Modularity", "", "of the communities found by Louvain, seed 0", "", "[-0.5, 1]"),
    Feature("Diameter", "count", "largest number of steps between two nodes of the giant"),
    Feature("MeanPath", "count", "mean number of steps between nodes of the giant"),
    Feature("AlgebraicConnectivity", "", "second eigenvalue of the giant's Laplacian"),
    Feature(
        "ClarkEvans",
        "",
        "mean distance to the nearest centroid over that of as many random points in the volume",
        "doi:10.2307/1931034",
    ),
    Feature(
        "RipleyL_{steps}",
        "",
        "Ripley's L minus r over the mean neighbour distance, at r = steps times that; the "
        "organoid without its lumens is the window",
        "doi:10.1111/j.2517-6161.1977.tb01615.x",
    ),
    Feature("MoranI_{feature}", "", "Moran's I of a feature over the edges", "doi:10.2307/2332142"),
)
